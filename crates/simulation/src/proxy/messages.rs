//! Where the messages of the Postgres protocol begin and end in a stream of bytes, and which of them mean a commit.
//!
//! Nothing here waits or holds a message: of each, the first [`PREFIX_MAX`] bytes of its body are kept until its last
//! byte has been seen, however the stream is cut into reads. A stream that does not keep to the protocol, or is
//! encrypted, is *opaque*: it is passed on and understood no more.

use std::collections::BTreeSet;

/// Bytes kept of a message's body: enough for a statement's name and the word `commit`.
const PREFIX_MAX: usize = 64;

/// The longest startup packet Postgres takes (`MAX_STARTUP_PACKET_LENGTH`); a longer one is no Postgres.
const STARTUP_LENGTH_MAX: usize = 10_000;

/// Names of prepared commits remembered on one connection. A client that prepares more is not understood in full.
const PREPARED_MAX: usize = 16;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// What a message from a client means for the answers to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Encryption is asked for; the answer is one byte without a frame.
    Negotiation,
    /// Everything sent so far is to be answered and closed with ReadyForQuery: startup, Sync, a function call.
    Sync,
    /// A simple query, answered as a whole and closed with ReadyForQuery.
    Query {
        /// Whether its text is `commit`.
        commit: bool,
    },
    /// A prepared statement is about to be executed; its answer ends at the next [`Request::Sync`].
    Bind {
        /// Whether its text is `commit`.
        commit: bool,
    },
    /// Anything else.
    Other,
}

/// The messages of a client, found in the bytes it sends.
#[derive(Debug)]
pub(crate) struct Requests {
    frames: Frames,
    prepared_commits: BTreeSet<Vec<u8>>,
}

/// The messages of a server, found in the bytes it sends.
#[derive(Debug)]
pub(crate) struct Answers {
    frames: Frames,
    negotiations: u32,
}

/// What the end of a message from a server means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Encryption is granted: the rest of both streams is opaque.
    Encrypted,
    /// An answer is complete.
    Ready,
    /// Anything else.
    Other,
}

impl Requests {
    pub(crate) fn new() -> Requests {
        Requests { frames: Frames::new(Shape::Startup), prepared_commits: BTreeSet::new() }
    }

    /// Takes bytes up to the end of a message, if it is among them; says how many it took, all of them otherwise.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Request>) {
        let (taken, ended) = self.frames.next(bytes);
        (taken, ended.map(|kind| self.meaning(kind)))
    }

    /// From here on nothing is understood.
    pub(crate) fn give_up(&mut self) {
        self.frames.shape = Shape::Opaque;
    }

    fn meaning(&mut self, kind: Option<u8>) -> Request {
        let body = self.frames.prefix.as_slice();
        match kind {
            None => self.startup(),
            Some(b'Q') => Request::Query { commit: is_commit(body) },
            Some(b'P') => self.prepare(),
            Some(b'B') => {
                let statement = strings(body).nth(1);
                let commit = statement.is_some_and(|name| self.prepared_commits.contains(name));
                Request::Bind { commit }
            }
            Some(b'S' | b'F') => Request::Sync,
            Some(_) => Request::Other,
        }
    }

    fn startup(&mut self) -> Request {
        let code = self.frames.prefix.first_chunk::<4>().map(|code| u32::from_be_bytes(*code));
        match code {
            Some(SSL_REQUEST | GSS_REQUEST) => Request::Negotiation,
            Some(CANCEL_REQUEST) | None => {
                self.give_up();
                Request::Other
            }
            Some(_) => {
                self.frames.shape = Shape::Typed;
                Request::Sync
            }
        }
    }

    /// A name may be prepared again with another text, the empty one is all the time.
    fn prepare(&mut self) -> Request {
        let mut parts = strings(&self.frames.prefix);
        if let (Some(name), Some(sql)) = (parts.next(), parts.next()) {
            if is_commit(sql) && self.prepared_commits.len() < PREPARED_MAX {
                self.prepared_commits.insert(name.to_vec());
            } else {
                self.prepared_commits.remove(name);
            }
        }
        Request::Other
    }
}

impl Answers {
    pub(crate) fn new() -> Answers {
        Answers { frames: Frames::new(Shape::Typed), negotiations: 0 }
    }

    /// The next byte after the current message answers a [`Request::Negotiation`].
    pub(crate) fn expect_negotiation(&mut self) {
        self.negotiations += 1;
    }

    /// As [`Requests::next`].
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Answer>) {
        if self.negotiations > 0 && self.frames.at_boundary() && !bytes.is_empty() {
            return (1, Some(self.negotiated(bytes[0])));
        }
        let (taken, ended) = self.frames.next(bytes);
        let meaning = |kind| if kind == Some(b'Z') { Answer::Ready } else { Answer::Other };
        (taken, ended.map(meaning))
    }

    fn negotiated(&mut self, answer: u8) -> Answer {
        self.negotiations -= 1;
        if answer == b'N' {
            return Answer::Other;
        }
        self.negotiations = 0;
        self.frames.shape = Shape::Opaque;
        Answer::Encrypted
    }
}

/// How the next message is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A length of four bytes, then the body.
    Startup,
    /// A type of one byte, a length of four, then the body.
    Typed,
    Opaque,
}

/// Message boundaries; moved by every byte of one direction of one connection.
#[derive(Debug)]
struct Frames {
    shape: Shape,
    header: [u8; 5],
    header_held: usize,
    /// Bytes of the body still to come, once the header is complete.
    body_left: usize,
    prefix: Vec<u8>,
}

impl Frames {
    fn new(shape: Shape) -> Frames {
        let prefix = Vec::with_capacity(PREFIX_MAX);
        Frames { shape, header: [0; 5], header_held: 0, body_left: 0, prefix }
    }

    fn at_boundary(&self) -> bool {
        self.header_held == 0
    }

    /// Takes bytes up to the end of a message and gives its type (none for a startup message). The prefix of its body
    /// stands until the next call.
    fn next(&mut self, bytes: &[u8]) -> (usize, Option<Option<u8>>) {
        if self.at_boundary() {
            self.prefix.clear();
        }
        let header_taken = self.take_header(bytes);
        if self.shape == Shape::Opaque || self.header_held < self.header_length() {
            return (bytes.len(), None);
        }
        let rest = &bytes[header_taken..];
        let body = &rest[..rest.len().min(self.body_left)];
        let kept = body.len().min(PREFIX_MAX - self.prefix.len());
        self.prefix.extend_from_slice(&body[..kept]);
        self.body_left -= body.len();
        if self.body_left > 0 {
            return (bytes.len(), None);
        }
        self.header_held = 0;
        let kind = (self.shape == Shape::Typed).then_some(self.header[0]);
        (header_taken + body.len(), Some(kind))
    }

    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let wanted = self.header_length() - self.header_held;
        let taken = wanted.min(bytes.len());
        self.header[self.header_held..self.header_held + taken].copy_from_slice(&bytes[..taken]);
        self.header_held += taken;
        if taken > 0 && taken == wanted {
            self.read_length();
        }
        taken
    }

    fn read_length(&mut self) {
        let [first, rest @ ..] = self.header;
        let [second, third, fourth, _] = rest;
        let (length, length_max) = match self.shape {
            Shape::Startup => (i32::from_be_bytes([first, second, third, fourth]), STARTUP_LENGTH_MAX),
            Shape::Typed => (i32::from_be_bytes(rest), usize::MAX),
            Shape::Opaque => return,
        };
        // The length counts itself.
        let body = usize::try_from(length).ok().filter(|length| *length <= length_max);
        match body.and_then(|length| length.checked_sub(4)) {
            Some(body) => self.body_left = body,
            None => self.shape = Shape::Opaque,
        }
    }

    fn header_length(&self) -> usize {
        match self.shape {
            Shape::Startup => 4,
            Shape::Typed => 5,
            // Never more than is held: nothing is taken.
            Shape::Opaque => self.header_held,
        }
    }
}

/// The strings of a body, each closed by a zero byte; the last may have been cut off by the bound on prefixes.
fn strings(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == 0)
}

/// Whether the first string is `commit`. One longer than the prefix is not: it has no zero byte within it.
fn is_commit(text: &[u8]) -> bool {
    let sql = strings(text).next().unwrap_or_default().trim_ascii();
    let sql = sql.strip_suffix(b";").unwrap_or(sql).trim_ascii_end();
    sql.eq_ignore_ascii_case(b"commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn startup(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(rest.len() + 8).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    fn client_stream() -> Vec<u8> {
        [
            startup(SSL_REQUEST, b""),
            startup(196_608, b"user\0postgres\0\0"),
            message(b'Q', b"select 1\0"),
            message(b'd', &[b'x'; 300]),
            message(b'P', b"s1\0COMMIT ;\0\0\0"),
            message(b'S', b""),
            message(b'B', b"\0s1\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
            message(b'P', b"s1\0select 1\0\0\0"),
            message(b'B', b"\0s1\0\0\0\0\0\0\0"),
            message(b'Q', b" Commit;\n\0"),
            message(b'X', b""),
        ]
        .concat()
    }

    const CLIENT_MEANING: [Request; 13] = [
        Request::Negotiation,
        Request::Sync,
        Request::Query { commit: false },
        Request::Other,
        Request::Other,
        Request::Sync,
        Request::Bind { commit: true },
        Request::Other,
        Request::Sync,
        Request::Other,
        Request::Bind { commit: false },
        Request::Query { commit: true },
        Request::Other,
    ];

    fn requests(reads: &[&[u8]]) -> Vec<Request> {
        let mut requests = Requests::new();
        let mut found = Vec::new();
        for read in reads {
            let mut rest = *read;
            while !rest.is_empty() {
                let (taken, request) = requests.next(rest);
                found.extend(request);
                rest = &rest[taken..];
            }
        }
        found
    }

    fn answers(answers: &mut Answers, reads: &[&[u8]]) -> Vec<Answer> {
        let mut found = Vec::new();
        for read in reads {
            let mut rest = *read;
            while !rest.is_empty() {
                let (taken, answer) = answers.next(rest);
                found.extend(answer);
                rest = &rest[taken..];
            }
        }
        found
    }

    #[test]
    fn messages_are_found_wherever_the_stream_is_split_in_three() {
        let stream = client_stream();
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let reads = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(requests(&reads), CLIENT_MEANING, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn messages_are_found_byte_by_byte() {
        let stream = client_stream();
        let reads: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(requests(&reads), CLIENT_MEANING);
    }

    #[test]
    fn answers_are_found_wherever_the_stream_is_split() {
        let stream = [b"N".to_vec(), message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
        for split in 0..=stream.len() {
            let mut plain = Answers::new();
            plain.expect_negotiation();
            let found = answers(&mut plain, &[&stream[..split], &stream[split..]]);
            assert_eq!(found, [Answer::Other, Answer::Other, Answer::Ready], "split at {split}");
        }
    }

    #[test]
    fn nothing_is_understood_of_an_encrypted_stream() {
        let mut encrypted = Answers::new();
        encrypted.expect_negotiation();
        let stream = [b"S".to_vec(), message(b'Z', b"I")].concat();
        assert_eq!(answers(&mut encrypted, &[&stream]), [Answer::Encrypted]);
    }

    #[test]
    fn streams_that_are_not_postgres_are_opaque() {
        assert_eq!(requests(&[b"GET / HTTP/1.1\r\n\r\n"]), []);
        assert_eq!(requests(&[&[0; 64]]), []);
        let broken = [startup(196_608, b"\0"), vec![b'Q', 0, 0, 0, 3, b'Q']].concat();
        assert_eq!(requests(&[&broken]), [Request::Sync]);
    }

    #[test]
    fn a_commit_is_told_from_its_likes() {
        for commit in ["commit", "COMMIT;", " \n commit ; "] {
            assert!(is_commit(&[commit.as_bytes(), b"\0"].concat()), "{commit}");
        }
        for other in
            ["commit prepared 'x'", "committed", "", "rollback", "commit; select 1", "savepoint commit"]
        {
            assert!(!is_commit(&[other.as_bytes(), b"\0"].concat()), "{other}");
        }
    }
}
