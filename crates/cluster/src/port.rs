//! A loopback port that stays a server's own while the server is down.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use crate::Error;

/// A port nobody else is given, until this is dropped.
///
/// On Linux a bound socket that never listens keeps the port: the kernel hands it to nobody who asks for any
/// free port, while a server that binds it with `SO_REUSEADDR`, as Postgres and Docker do, gets it. Other systems
/// have no such rule; there the port was free when it was chosen, and that is all.
#[derive(Debug)]
pub(crate) struct HeldPort {
    number: u16,
    _holder: Option<TcpSocket>,
}

impl HeldPort {
    pub(crate) fn choose() -> Result<HeldPort, Error> {
        let failed = |source| Error::Io { doing: "find a free port on", path: "127.0.0.1".into(), source };
        let socket = TcpSocket::new_v4().map_err(failed)?;
        // Bound without SO_REUSEADDR, so that a port that another holder keeps is not taken for free.
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(failed)?;
        let number = socket.local_addr().map_err(failed)?.port();
        socket.set_reuseaddr(true).map_err(failed)?;
        Ok(HeldPort { number, _holder: cfg!(target_os = "linux").then_some(socket) })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_refuses_connections_and_can_be_listened_on_by_the_server_it_is_held_for() {
        let held = HeldPort::choose().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, held.number()));
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens yet");
        for _ in 0..3 {
            // The standard library's listener sets SO_REUSEADDR, as Postgres does.
            let server = std::net::TcpListener::bind(address).unwrap();
            assert!(std::net::TcpStream::connect(address).is_ok());
            drop(server);
        }
    }

    #[test]
    fn two_held_ports_differ_and_a_held_port_is_given_to_nobody_else() {
        let held: Vec<HeldPort> = (0..50).map(|_| HeldPort::choose().unwrap()).collect();
        let mut numbers: Vec<u16> = held.iter().map(HeldPort::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        let rival = TcpSocket::new_v4().unwrap();
        assert!(rival.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, numbers[0]))).is_err());
    }
}
