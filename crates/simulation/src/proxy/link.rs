//! One connection through the proxy: two sockets and what passes between them.

use std::future::pending;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::drain::drained;
use super::messages::{Answer, Answers, Request, Requests};
use super::orders::{Allowance, Direction, Grip, Orders};

/// The buffer of one direction.
const READ_BYTES: usize = 64 * 1024;

/// The server a proxy stands in front of.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why a connection ended before both sides had closed it.
#[derive(Debug)]
enum End {
    /// The ordered byte has passed in this direction.
    Cut(Direction),
    /// A commit was answered and the answer swallowed.
    AnswerLost,
    /// The handle ended it: cut, thawed or dropped.
    Ordered,
    /// One side is gone, or never came.
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Broken
    }
}

/// Serves one client until the connection ends, by itself or by order.
pub(crate) async fn serve(mut client: TcpStream, target: &Target, orders: &Orders, grip: &Grip) {
    // Outside the conversation, for a frozen connection must outlive it with both sockets open.
    let mut server = None;
    let ended = tokio::select! {
        biased;
        () = grip.ended.cancelled() => Err(End::Ordered),
        () = grip.frozen.cancelled() => {
            grip.ended.cancelled().await;
            Err(End::Ordered)
        }
        ended = converse(&mut client, &mut server, target, orders, grip) => ended,
    };
    if let Err(end) = ended {
        count_end(end, &client, server.as_ref(), orders, grip).await;
        reset(client);
        if let Some(server) = server {
            reset(server);
        }
    } else {
        orders.leave(grip);
    }
}

/// Closes it so that the other end sees a reset, not an end of stream.
pub(crate) fn reset(stream: TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection is closed where it should have been reset");
    }
    drop(stream);
}

/// Counts before the sockets go, so that whoever sees the reset also sees it counted.
async fn count_end(end: End, client: &TcpStream, server: Option<&TcpStream>, orders: &Orders, grip: &Grip) {
    let receiver = match end {
        End::Cut(Direction::Requests) => server,
        End::Cut(Direction::Answers) | End::AnswerLost => Some(client),
        End::Ordered | End::Broken => None,
    };
    if let Some(receiver) = receiver {
        tokio::select! {
            () = drained(receiver) => {}
            () = grip.ended.cancelled() => {}
        }
    }
    orders.leave(grip);
    match end {
        End::Cut(_) => orders.count(|counters| counters.cuts += 1),
        End::AnswerLost => orders.count(|counters| counters.answers_lost += 1),
        End::Ordered | End::Broken => {}
    }
}

async fn converse(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    target: &Target,
    orders: &Orders,
    grip: &Grip,
) -> Result<(), End> {
    client.set_nodelay(true)?;
    let server = server.insert(TcpStream::connect((target.host.as_str(), target.port)).await?);
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let pump = Pump { orders, grip, protocol: &Protocol::new() };
    tokio::try_join!(
        pump.run(Direction::Requests, from_client, to_server),
        pump.run(Direction::Answers, from_server, to_client),
    )?;
    Ok(())
}

/// Passes bytes on in both directions under the same orders.
struct Pump<'a> {
    orders: &'a Orders,
    grip: &'a Grip,
    protocol: &'a Protocol,
}

impl Pump<'_> {
    /// Passes one direction on until its end of stream, which is passed on too.
    async fn run(
        &self,
        direction: Direction,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
    ) -> Result<(), End> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = from.read(&mut buffer).await?;
            self.hold_back().await;
            if read == 0 {
                return Ok(to.shutdown().await?);
            }
            self.pass(direction, &buffer[..read], &mut to).await?;
        }
    }

    async fn hold_back(&self) {
        self.orders.hold_back().await;
        // What was read after an order to halt must not pass, even when the order has not ended this future yet.
        if self.grip.is_halted() {
            pending::<()>().await;
        }
    }

    async fn pass(&self, direction: Direction, read: &[u8], to: &mut WriteHalf<'_>) -> Result<(), End> {
        let (heard, answer_lost) = match direction {
            Direction::Requests => {
                self.protocol.hear_requests(read, self.orders);
                (read.len(), false)
            }
            Direction::Answers => self.protocol.hear_answers(read),
        };
        let Allowance { bytes, cut } = self.orders.allow(direction, heard);
        to.write_all(&read[..bytes]).await?;
        self.orders.passed(direction, bytes);
        match (cut, answer_lost) {
            (true, _) => Err(End::Cut(direction)),
            (false, true) => Err(End::AnswerLost),
            (false, false) => Ok(()),
        }
    }
}

/// Where both streams stand in the protocol. Moved by both pumps, which run in one task and never hold it while they
/// wait.
struct Protocol {
    talk: Mutex<Talk>,
}

struct Talk {
    requests: Requests,
    answers: Answers,
    /// ReadyForQuery messages the client has asked for.
    readies_asked: u64,
    /// ReadyForQuery messages the server has sent.
    readies_sent: u64,
    /// The answer that ends with this ReadyForQuery is to be lost.
    lost: Option<u64>,
}

impl Protocol {
    fn new() -> Protocol {
        let (requests, answers) = (Requests::new(), Answers::new());
        Protocol {
            talk: Mutex::new(Talk { requests, answers, readies_asked: 0, readies_sent: 0, lost: None }),
        }
    }

    /// Must be called before the bytes are passed on, for their answer may come at once.
    fn hear_requests(&self, bytes: &[u8], orders: &Orders) {
        let mut talk = self.talk();
        let mut heard = 0;
        while heard < bytes.len() {
            let (taken, request) = talk.requests.next(&bytes[heard..]);
            heard += taken;
            if let Some(request) = request {
                talk.hear_request(request, orders);
            }
        }
    }

    /// How many of the bytes may pass, and whether the answer to be lost is complete with them.
    fn hear_answers(&self, bytes: &[u8]) -> (usize, bool) {
        let mut talk = self.talk();
        let (mut heard, mut pass) = (0, 0);
        while heard < bytes.len() {
            // Asked before the bytes are heard: the ReadyForQuery before the lost answer still passes.
            let passes = !talk.is_losing();
            let (taken, answer) = talk.answers.next(&bytes[heard..]);
            heard += taken;
            pass = if passes { heard } else { pass };
            if answer.is_some_and(|answer| talk.hear_answer(answer)) {
                return (pass, true);
            }
        }
        (pass, false)
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Talk {
    fn hear_request(&mut self, request: Request, orders: &Orders) {
        let commit = match request {
            Request::Negotiation => {
                self.answers.expect_negotiation();
                return;
            }
            Request::Sync => {
                self.readies_asked += 1;
                return;
            }
            Request::Query { commit } => {
                self.readies_asked += 1;
                commit.then_some(self.readies_asked)
            }
            Request::Bind { commit } => commit.then_some(self.readies_asked + 1),
            Request::Other => None,
        };
        if commit.is_some() && self.lost.is_none() && orders.take_commit() {
            self.lost = commit;
        }
    }

    /// Whether this completes the answer to be lost.
    fn hear_answer(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Ready => {
                self.readies_sent += 1;
                self.lost == Some(self.readies_sent)
            }
            Answer::Encrypted => {
                self.requests.give_up();
                false
            }
            Answer::Other => false,
        }
    }

    fn is_losing(&self) -> bool {
        self.lost.is_some_and(|lost| self.readies_sent + 1 >= lost)
    }
}
