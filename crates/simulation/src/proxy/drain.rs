//! Waiting until what was written to a socket has left it.
//!
//! A reset throws away what is still in the send queue, so that a receiver that is slow to read would get fewer bytes
//! than were counted. The length of the queue is read from `/proc/net/tcp`; where there is none, nothing is waited for
//! and a cut is exact for receivers that keep up.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A receiver that does not read for this long gets less than it was promised.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until the other end's system has everything that was written, at most [`DRAIN_MAX`].
pub(crate) async fn drained(stream: &TcpStream) {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    let table = if local.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        let Ok(sockets) = tokio::fs::read_to_string(table).await else {
            return;
        };
        match queued(&sockets, local.port(), peer.port()) {
            Some(bytes) if bytes > 0 => sleep(LOOK_EVERY).await,
            _ => return,
        }
    }
}

/// The send queue of the connection between two ports, in bytes; columns as in proc_net_tcp.txt of the Linux kernel.
fn queued(sockets: &str, local: u16, peer: u16) -> Option<u64> {
    sockets.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let ends = (port(columns.next()?)?, port(columns.next()?)?);
        let queues = columns.nth(1)?;
        let (sending, _) = queues.split_once(':')?;
        (ends == (local, peer)).then(|| u64::from_str_radix(sending, 16).ok())?
    })
}

fn port(address: &str) -> Option<u16> {
    let (_, port) = address.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_send_queue_is_read_for_one_end_of_one_connection() {
        let sockets = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:1F90 0100007F:D431 01 00000000:0000A000 00:00000000 00000000     0\n\
             1: 0100007F:D431 0100007F:1F90 01 0000001A:00000000 00:00000000 00000000     0\n";
        assert_eq!(queued(sockets, 54321, 8080), Some(26));
        assert_eq!(queued(sockets, 8080, 54321), Some(0));
        assert_eq!(queued(sockets, 8080, 1), None);
    }
}
