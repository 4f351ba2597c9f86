use std::io::ErrorKind;
use std::time::Duration;

use milestream_cluster::{Backend, FindOptions, Server, ServerOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Direction, Proxy};

/// Long enough for any byte to pass that is going to.
const A_WHILE: Duration = Duration::from_millis(150);

/// What never comes fails a test, it does not hang it.
async fn soon<T>(awaited: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), awaited).await.expect("it should have come by now")
}

/// Echoes bytes, and sends what each connection sent to it to the returned channel when it ends.
async fn echo() -> (u16, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let (mut all, mut buffer) = (Vec::new(), vec![0; 8192]);
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    all.extend_from_slice(&buffer[..read]);
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                let _ = told.send(all);
            });
        }
    });
    (port, received)
}

async fn echoing() -> (Proxy, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (port, received) = echo().await;
    (Proxy::start("127.0.0.1", port).await.unwrap(), received)
}

async fn client(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
}

/// A client whose connection is through to the target.
async fn connected(proxy: &Proxy) -> TcpStream {
    let mut stream = client(proxy).await;
    assert_echoes(&mut stream).await;
    stream
}

async fn assert_echoes(stream: &mut TcpStream) {
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ping");
}

/// Everything up to the reset, which must come.
async fn read_to_reset(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 8192]);
    loop {
        match soon(stream.read(&mut buffer)).await {
            Ok(0) => panic!("closed politely after {} bytes", all.len()),
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                return all;
            }
        }
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[tokio::test]
async fn answers_are_cut_behind_the_exact_byte() {
    for bytes in [0, 1, 2, 5, 8191, 65_536, 70_001] {
        let (proxy, _received) = echoing().await;
        let (mut other, mut stream) = (connected(&proxy).await, connected(&proxy).await);
        proxy.cut_after(Direction::Answers, u64::try_from(bytes).unwrap());
        let (reading, mut writing) = stream.split();
        let sent = pattern(100_000);
        let _ = tokio::join!(writing.write_all(&sent), reading.readable());
        assert_eq!(read_to_reset(&mut stream).await, sent[..bytes]);
        assert_eq!(proxy.counters().cuts, 1);
        assert_echoes(&mut other).await;
        assert_eq!(proxy.counters().cuts, 1, "a cut is ordered once");
    }
}

#[tokio::test]
async fn requests_are_cut_behind_the_exact_byte() {
    for bytes in [0, 1, 2, 5, 8191, 65_536, 70_001] {
        let (proxy, mut received) = echoing().await;
        let (mut other, mut stream) = (connected(&proxy).await, client(&proxy).await);
        proxy.cut_after(Direction::Requests, u64::try_from(bytes).unwrap());
        let sent = pattern(100_000);
        let _ = stream.write_all(&sent).await;
        assert_eq!(soon(received.recv()).await.unwrap(), sent[..bytes]);
        assert_eq!(proxy.counters().cuts, 1);
        assert_eq!(proxy.counters().bytes_requests, u64::try_from(bytes + 4).unwrap());
        assert_echoes(&mut other).await;
    }
}

#[tokio::test]
async fn bytes_are_counted_over_all_connections() {
    let (proxy, _received) = echoing().await;
    let (mut one, mut two) = (connected(&proxy).await, connected(&proxy).await);
    proxy.cut_after(Direction::Answers, 6);
    assert_echoes(&mut one).await;
    two.write_all(b"ping").await.unwrap();
    assert_eq!(read_to_reset(&mut two).await, b"pi");
    assert_echoes(&mut one).await;
}

#[tokio::test]
async fn a_slow_reader_gets_every_byte_before_the_cut() {
    const BYTES: usize = 4_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
    let mut stream = client(&proxy).await;
    let (mut server, _) = listener.accept().await.unwrap();
    proxy.cut_after(Direction::Answers, u64::try_from(BYTES).unwrap());
    let flood = tokio::spawn(async move {
        server.write_all(&pattern(BYTES + 1)).await?;
        server.read(&mut [0]).await
    });
    sleep(A_WHILE).await;
    assert_eq!(read_to_reset(&mut stream).await, pattern(BYTES));
    assert!(flood.await.unwrap().is_err(), "the server must see the cut too");
}

#[tokio::test]
async fn an_end_of_stream_is_passed_on() {
    let (proxy, mut received) = echoing().await;
    let mut stream = connected(&proxy).await;
    stream.shutdown().await.unwrap();
    assert_eq!(soon(received.recv()).await.unwrap(), b"ping");
    assert_eq!(soon(stream.read(&mut [0; 4])).await.unwrap(), 0);
    assert_eq!(proxy.cut_all(), 0);
}

#[tokio::test]
async fn frozen_connections_stay_open_and_pass_nothing_until_they_are_thawed() {
    let (proxy, mut received) = echoing().await;
    let mut frozen = connected(&proxy).await;
    proxy.freeze();
    frozen.write_all(b"more").await.unwrap();
    assert!(timeout(A_WHILE, frozen.read(&mut [0; 4])).await.is_err(), "neither an answer nor an end");
    let mut new = connected(&proxy).await;
    assert_eq!(proxy.counters().frozen, 1);
    proxy.thaw();
    assert_eq!(read_to_reset(&mut frozen).await, b"");
    assert_eq!(soon(received.recv()).await.unwrap(), b"ping");
    assert_echoes(&mut new).await;
}

#[tokio::test]
async fn every_read_is_held_back_and_counted() {
    let (proxy, _received) = echoing().await;
    let mut stream = connected(&proxy).await;
    proxy.delay(Duration::from_millis(60));
    let begun = Instant::now();
    assert_echoes(&mut stream).await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    assert_eq!(proxy.counters().delayed_reads, 2);
    proxy.delay(Duration::from_secs(60));
    stream.write_all(b"ping").await.unwrap();
    sleep(A_WHILE).await;
    proxy.calm();
    let mut answer = [0; 4];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_echoes(&mut stream).await;
    assert_eq!(proxy.counters().delayed_reads, 3);
}

#[tokio::test]
async fn refused_connections_end_at_once_while_others_live_on() {
    let (proxy, _received) = echoing().await;
    let mut old = connected(&proxy).await;
    proxy.refuse();
    read_to_reset(&mut client(&proxy).await).await;
    assert_echoes(&mut old).await;
    assert_eq!(proxy.counters().refused, 1);
    proxy.accept();
    connected(&proxy).await;
}

#[tokio::test]
async fn cut_all_cuts_what_lives_frozen_or_not() {
    let (proxy, _received) = echoing().await;
    let mut frozen = connected(&proxy).await;
    proxy.freeze();
    let mut live = connected(&proxy).await;
    assert_eq!(proxy.cut_all(), 2);
    assert_eq!(proxy.cut_all(), 0);
    read_to_reset(&mut frozen).await;
    read_to_reset(&mut live).await;
    assert_eq!(proxy.counters().cuts, 2);
    connected(&proxy).await;
}

#[tokio::test]
async fn calm_takes_every_order_back() {
    let (proxy, _received) = echoing().await;
    let mut frozen = connected(&proxy).await;
    proxy.freeze();
    proxy.refuse();
    proxy.cut_after(Direction::Answers, 1);
    proxy.delay(Duration::from_secs(60));
    proxy.calm();
    read_to_reset(&mut frozen).await;
    connected(&proxy).await;
    assert_eq!((proxy.counters().cuts, proxy.counters().delayed_reads), (0, 0));
}

#[tokio::test]
async fn the_last_handle_ends_everything() {
    let (proxy, _received) = echoing().await;
    let mut stream = connected(&proxy).await;
    let (port, second) = (proxy.port(), proxy.clone());
    drop(proxy);
    assert_echoes(&mut stream).await;
    drop(second);
    read_to_reset(&mut stream).await;
    sleep(A_WHILE).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

async fn postgres() -> (Server, Proxy, PgConnectOptions) {
    let backend = Backend::find(&FindOptions::from_env()).await.unwrap();
    let server = Server::start(&backend, ServerOptions::named("proxy")).await.unwrap();
    let proxy = Proxy::start(server.host(), server.port()).await.unwrap();
    let through = server.connect_options("postgres").host("127.0.0.1").port(proxy.port());
    (server, proxy, through)
}

async fn values(through: &PgConnectOptions) -> Vec<i32> {
    let mut connection = through.connect().await.unwrap();
    let values = sqlx::query_scalar("select value from kept order by value").fetch_all(&mut connection).await;
    connection.close().await.unwrap();
    values.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    soon(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection)).await.map(drop)
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_durable() {
    let (_server, proxy, through) = postgres().await;
    run(&mut through.connect().await.unwrap(), "create table kept (value int)").await.unwrap();

    let mut simple = through.connect().await.unwrap();
    proxy.lose_commit_answer();
    run(&mut simple, "begin; insert into kept values (1)").await.unwrap();
    assert!(run(&mut simple, "COMMIT;").await.is_err());
    assert_eq!(proxy.counters().answers_lost, 1);
    assert_eq!(values(&through).await, [1]);

    let mut prepared = through.connect().await.unwrap();
    run(&mut prepared, "begin; insert into kept values (2)").await.unwrap();
    proxy.lose_commit_answer();
    assert!(soon(sqlx::query("commit").execute(&mut prepared)).await.is_err());
    assert_eq!(values(&through).await, [1, 2]);

    let mut transaction = through.connect().await.unwrap();
    proxy.lose_commit_answer();
    let mut open = transaction.begin().await.unwrap();
    run(&mut open, "insert into kept values (3)").await.unwrap();
    assert!(soon(open.commit()).await.is_err());
    assert_eq!(values(&through).await, [1, 2, 3]);

    let mut unharmed = through.connect().await.unwrap();
    run(&mut unharmed, "begin; insert into kept values (4)").await.unwrap();
    run(&mut unharmed, "commit").await.unwrap();
    assert_eq!(proxy.counters().answers_lost, 3);
    assert_eq!(proxy.counters().cuts, 0);
}

#[tokio::test]
async fn the_port_outlives_the_server() {
    let (server, proxy, through) = postgres().await;
    let mut before = through.connect().await.unwrap();
    let port = proxy.port();
    server.stop_immediate().await.unwrap();
    assert!(run(&mut before, "select 1").await.is_err());
    let mut refused = client(&proxy).await;
    assert!(matches!(soon(refused.read(&mut [0])).await, Ok(0) | Err(_)));
    server.restart().await.unwrap();
    run(&mut through.connect().await.unwrap(), "select 1").await.unwrap();
    assert_eq!(proxy.port(), port);
}

#[tokio::test]
async fn several_servers_take_the_connections_in_turn() {
    let (one, mut at_one) = echo().await;
    let (other, mut at_other) = echo().await;
    let servers = [one, other].map(|port| ("127.0.0.1".to_owned(), port));
    let proxy = Proxy::start_over(servers).await.unwrap();
    for _ in 0..2 {
        let first = connected(&proxy).await;
        let second = connected(&proxy).await;
        drop((first, second));
        assert!(at_one.recv().await.is_some() && at_other.recv().await.is_some());
    }
    assert!(Proxy::start_over([]).await.is_err());
}
