//! What a server sends, message by message: rows of a COPY to one side, everything else to the driver.

use bytes::BytesMut;

/// A message begins with its kind and the length of what follows, itself included.
const HEADER_BYTES: usize = 5;
const LENGTH_BYTES: usize = 4;

const COPY_OUT_RESPONSE: u8 = b'H';
const COPY_DATA: u8 = b'd';
const COPY_DONE: u8 = b'c';
const ERROR_RESPONSE: u8 = b'E';
const READY_FOR_QUERY: u8 = b'Z';

/// What has been sorted and waits to be passed on.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Rows of a copy, as they stand between the headers of its messages.
    pub(super) rows: BytesMut,
    /// Whole or begun messages for the driver.
    pub(super) for_driver: BytesMut,
    /// Whether the copy whose rows were taken has come to its end, or to an error.
    pub(super) ended: bool,
}

/// Sorts a stream of messages, whatever the boundaries of its reads are. Every byte is of a message: this is for
/// connections without TLS, from the first answer on.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// A header, of which so many bytes have come.
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Bytes left of the message under way.
    left: usize,
    /// Whether the message under way is rows.
    is_rows: bool,
    /// Whether rows are taken, until their copy ends.
    takes_rows: bool,
}

impl Frames {
    /// Sorts what was read. When a copy begins, `is_wanted` says whether its rows are to be taken.
    pub(super) fn sort(
        &mut self,
        mut bytes: &[u8],
        sorted: &mut Sorted,
        mut is_wanted: impl FnMut() -> bool,
    ) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.begin(&mut bytes, sorted, &mut is_wanted);
            }
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
            let side = if self.is_rows { &mut sorted.rows } else { &mut sorted.for_driver };
            side.extend_from_slice(body);
            self.left -= body.len();
            bytes = rest;
        }
    }

    /// Takes a header, or as much of it as has come.
    fn begin(&mut self, bytes: &mut &[u8], sorted: &mut Sorted, is_wanted: &mut impl FnMut() -> bool) {
        let missing = (HEADER_BYTES - self.header_bytes).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.header[self.header_bytes..][..missing].copy_from_slice(taken);
        self.header_bytes += missing;
        *bytes = rest;
        if self.header_bytes < HEADER_BYTES {
            return;
        }
        self.header_bytes = 0;
        let [kind, length @ ..] = self.header;
        // A length that no server sends ends the message at once; the driver sees it and gives the connection up.
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or_default();
        self.left = length.saturating_sub(LENGTH_BYTES);
        match kind {
            COPY_OUT_RESPONSE => self.takes_rows = is_wanted(),
            COPY_DONE | ERROR_RESPONSE | READY_FOR_QUERY if self.takes_rows => {
                self.takes_rows = false;
                sorted.ended = true;
            }
            _ => {}
        }
        self.is_rows = self.takes_rows && kind == COPY_DATA;
        if !self.is_rows {
            sorted.for_driver.extend_from_slice(&self.header);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + LENGTH_BYTES).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    /// Sorts `stream` in reads of the given lengths, of which the copies named by `wanted` are taken.
    fn sort(stream: &[u8], reads: &[usize], wanted: &[bool]) -> (Vec<u8>, Vec<u8>, bool) {
        let (mut frames, mut sorted) = (Frames::default(), Sorted::default());
        let mut wanted = wanted.iter().copied();
        let (mut rest, mut reads) = (stream, reads.iter().copied().cycle());
        while !rest.is_empty() {
            let (read, left) = rest.split_at(reads.next().unwrap_or(1).clamp(1, rest.len()));
            frames.sort(read, &mut sorted, || wanted.next().unwrap_or(false));
            rest = left;
        }
        (sorted.rows.to_vec(), sorted.for_driver.to_vec(), sorted.ended)
    }

    #[test]
    fn the_rows_of_a_wanted_copy_go_to_one_side() {
        let copy =
            [message(b'H', b"\0\0\0"), message(b'd', b"one"), message(b'd', b"two"), message(b'c', b"")];
        let after = [message(b'C', b"COPY 2\0"), message(b'Z', b"I")];
        let stream = [copy.concat(), after.concat()].concat();
        let (rows, for_driver, ended) = sort(&stream, &[stream.len()], &[true]);
        assert_eq!(rows, b"onetwo");
        assert_eq!(for_driver, [message(b'H', b"\0\0\0"), message(b'c', b""), after.concat()].concat());
        assert!(ended);
    }

    #[test]
    fn a_copy_that_nobody_wants_is_the_drivers() {
        let stream = [message(b'H', b"\0\0\0"), message(b'd', b"one"), message(b'c', b"")].concat();
        assert_eq!(sort(&stream, &[4], &[false]), (Vec::new(), stream, false));
    }

    #[test]
    fn an_error_ends_a_copy_and_what_comes_after_is_the_drivers() {
        let copy = [message(b'H', b"\0"), message(b'd', b"one"), message(b'E', b"S\0"), message(b'Z', b"E")];
        let stream = [copy.concat(), message(b'd', b"not of it")].concat();
        let (rows, for_driver, ended) = sort(&stream, &[7], &[true]);
        assert_eq!((rows, ended), (b"one".to_vec(), true));
        assert!(for_driver.ends_with(&message(b'd', b"not of it")));
    }

    proptest! {
        #[test]
        fn boundaries_of_reads_change_nothing(
            messages in prop::collection::vec((prop::sample::select(b"HdcEZCSN".to_vec()), prop::collection::vec(any::<u8>(), 0..20)), 0..30),
            reads in prop::collection::vec(1_usize..40, 1..10),
            wanted in prop::collection::vec(any::<bool>(), 0..5),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
            let whole = sort(&stream, &[stream.len().max(1)], &wanted);
            prop_assert_eq!(&sort(&stream, &reads, &wanted), &whole);
            let (rows, for_driver, _) = whole;
            let taken = stream.len() - for_driver.len();
            prop_assert!(rows.len() <= taken && (taken - rows.len()).is_multiple_of(HEADER_BYTES), "only headers of rows go");
        }
    }
}
