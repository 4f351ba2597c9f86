//! Finds row boundaries in a COPY stream and takes leading fields off each row.
//!
//! Only increments need this: their stream is cut into chunks at rows, and each row begins with the text of its
//! key, which the secondary does not store but a resume asks for. Other copies pass through untouched.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{Error, Result};

/// The format of a COPY, chosen per table: binary unless a column's type forbids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Binary,
    Text,
}

impl Format {
    /// As SQL spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Binary => "binary",
            Format::Text => "text",
        }
    }

    /// What a stream begins with: 11 bytes of signature, flags, length of the extension.
    pub(crate) fn header(self) -> &'static [u8] {
        match self {
            Format::Binary => b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0",
            Format::Text => b"",
        }
    }

    /// What a stream ends with: a field count of -1.
    pub(crate) fn trailer(self) -> &'static [u8] {
        match self {
            Format::Binary => b"\xff\xff",
            Format::Text => b"",
        }
    }
}

/// One row, without its leading fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The row's bytes, ready to be sent on.
    pub(crate) bytes: Bytes,
    /// The fields that were taken off, as the server wrote them.
    leading: Vec<Bytes>,
    format: Format,
}

impl Row {
    /// The fields taken off, as text.
    ///
    /// # Errors
    /// `Setup` when they are no UTF-8, as bytes in databases without an encoding may be.
    pub(crate) fn leading_text(&self) -> Result<Vec<String>> {
        let text = |field: &Bytes| {
            let field = match self.format {
                Format::Binary => field.to_vec(),
                Format::Text => unescape(field),
            };
            String::from_utf8(field).map_err(|_| no_utf8())
        };
        self.leading.iter().map(text).collect()
    }
}

/// Splits a stream into rows, whatever the messages' boundaries are.
#[derive(Debug)]
pub(crate) struct Rows {
    format: Format,
    leading: usize,
    pending: BytesMut,
    header_seen: bool,
    ended: bool,
}

impl Rows {
    /// Rows of which the first `leading` fields are taken off.
    pub(crate) fn new(format: Format, leading: usize) -> Rows {
        Rows { format, leading, pending: BytesMut::new(), header_seen: false, ended: false }
    }

    /// Takes bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole row, if all of it has come.
    ///
    /// # Errors
    /// `Invariant` when the bytes are no COPY stream.
    pub(crate) fn next(&mut self) -> Result<Option<Row>> {
        match self.format {
            Format::Binary => self.next_binary(),
            Format::Text => self.next_text(),
        }
    }

    /// Checks that the stream ended where a row ended.
    ///
    /// # Errors
    /// `Invariant` when it was cut short.
    pub(crate) fn finish(self) -> Result<()> {
        let whole = self.pending.is_empty() && (self.ended || self.format == Format::Text);
        if whole { Ok(()) } else { Err(malformed("a stream that was cut short")) }
    }

    fn next_binary(&mut self) -> Result<Option<Row>> {
        if !self.header_seen && !self.take_header()? {
            return Ok(None);
        }
        let Some(fields) = peek_i16(&self.pending, 0) else { return Ok(None) };
        if fields == -1 {
            self.pending.advance(2);
            self.ended = true;
            return Ok(None);
        }
        let fields = usize::try_from(fields).map_err(|_| malformed("a negative field count"))?;
        let Some(ends) = field_ends(&self.pending, fields)? else { return Ok(None) };
        let row_end = ends.last().copied().unwrap_or(2);
        let row = self.pending.split_to(row_end).freeze();
        if fields < self.leading {
            return Err(malformed("fewer fields than the key has"));
        }
        let leading_end = if self.leading == 0 { 2 } else { ends[self.leading - 1] };
        let mut leading = Vec::with_capacity(self.leading);
        let mut start = 2;
        for end in &ends[..self.leading] {
            if peek_i32(&row, start) == Some(-1) {
                return Err(malformed("a NULL in a key"));
            }
            leading.push(row.slice(start + 4..*end));
            start = *end;
        }
        let mut bytes = BytesMut::with_capacity(2 + row_end - leading_end);
        let kept = i16::try_from(fields - self.leading).map_err(|_| malformed("too many fields"))?;
        bytes.put_i16(kept);
        bytes.put_slice(&row[leading_end..]);
        Ok(Some(Row { bytes: bytes.freeze(), leading, format: self.format }))
    }

    fn take_header(&mut self) -> Result<bool> {
        const FIXED: usize = 19;
        if self.pending.len() < FIXED {
            return Ok(false);
        }
        if self.pending[..11] != Format::Binary.header()[..11] {
            return Err(malformed("no signature of a binary COPY"));
        }
        let extension = peek_i32(&self.pending, 15).and_then(|length| usize::try_from(length).ok());
        let extension = extension.ok_or_else(|| malformed("a negative header extension"))?;
        if self.pending.len() < FIXED + extension {
            return Ok(false);
        }
        self.pending.advance(FIXED + extension);
        self.header_seen = true;
        Ok(true)
    }

    fn next_text(&mut self) -> Result<Option<Row>> {
        let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let row = self.pending.split_to(end + 1).freeze();
        let mut leading = Vec::with_capacity(self.leading);
        let mut start = 0;
        for _ in 0..self.leading {
            let length = row[start..].iter().position(|byte| *byte == b'\t');
            let length = length.ok_or_else(|| malformed("fewer fields than the key has"))?;
            leading.push(row.slice(start..start + length));
            start += length + 1;
        }
        Ok(Some(Row { bytes: row.slice(start..), leading, format: self.format }))
    }
}

/// Where each field of a binary row ends, counted from the row's start; `None` until all have come.
fn field_ends(row: &[u8], fields: usize) -> Result<Option<Vec<usize>>> {
    let mut ends = Vec::with_capacity(fields);
    let mut at = 2;
    for _ in 0..fields {
        let Some(length) = peek_i32(row, at) else { return Ok(None) };
        if length < -1 {
            return Err(malformed("a negative field length"));
        }
        at += 4 + usize::try_from(length).unwrap_or(0);
        if row.len() < at {
            return Ok(None);
        }
        ends.push(at);
    }
    Ok(Some(ends))
}

fn peek_i16(bytes: &[u8], at: usize) -> Option<i16> {
    bytes.get(at..at + 2)?.try_into().ok().map(i16::from_be_bytes)
}

fn peek_i32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4)?.try_into().ok().map(i32::from_be_bytes)
}

/// Undoes COPY's text escapes; the server writes only the backslash pairs below.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            text.push(*byte);
            continue;
        }
        text.push(match bytes.next() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(other) => *other,
            None => b'\\',
        });
    }
    text
}

/// A resume finds its place by keys that are stored as text.
fn no_utf8() -> Error {
    Error::setup(
        "a key of the primary is no UTF-8, so that a resume could not find its place by it",
        "bring the key to UTF-8 on the primary, or both databases to an encoding",
    )
}

fn malformed(what: &str) -> Error {
    Error::invariant("a COPY stream of the primary", format!("it holds {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary_row(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut row = BytesMut::new();
        row.put_i16(i16::try_from(fields.len()).unwrap());
        for field in fields {
            row.put_i32(field.map_or(-1, |field| i32::try_from(field.len()).unwrap()));
            row.put_slice(field.unwrap_or_default());
        }
        row.to_vec()
    }

    fn all_rows(format: Format, stream: &[u8], step: usize) -> Vec<(Vec<String>, Vec<u8>)> {
        let mut rows = Rows::new(format, 1);
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            rows.feed(piece);
            while let Some(row) = rows.next().unwrap() {
                found.push((row.leading_text().unwrap(), row.bytes.to_vec()));
            }
        }
        rows.finish().unwrap();
        found
    }

    #[test]
    fn binary_rows_are_found_whatever_the_message_boundaries_are() {
        let mut stream = Format::Binary.header().to_vec();
        stream.extend(binary_row(&[Some(b"k1"), Some(b"payload"), None]));
        stream.extend(binary_row(&[Some(b""), None, Some(b"")]));
        stream.extend(Format::Binary.trailer());
        let expected = vec![
            (vec!["k1".to_owned()], binary_row(&[Some(b"payload"), None])),
            (vec![String::new()], binary_row(&[None, Some(b"")])),
        ];
        for step in [1, 2, 3, 7, 19, 1000] {
            assert_eq!(all_rows(Format::Binary, &stream, step), expected, "in steps of {step}");
        }
    }

    #[test]
    fn text_rows_lose_their_key_and_keep_their_escapes() {
        let stream = b"a\\tb\\\\c\tx\\ny\t\\N\nk2\t1\t2\n";
        let expected = vec![
            (vec!["a\tb\\c".to_owned()], b"x\\ny\t\\N\n".to_vec()),
            (vec!["k2".to_owned()], b"1\t2\n".to_vec()),
        ];
        for step in [1, 5, 1000] {
            assert_eq!(all_rows(Format::Text, stream, step), expected);
        }
    }

    #[test]
    fn a_stream_that_is_cut_short_is_noticed() {
        let mut stream = Format::Binary.header().to_vec();
        stream.extend(binary_row(&[Some(b"k1"), Some(b"payload")]));
        let mut rows = Rows::new(Format::Binary, 1);
        rows.feed(&stream);
        assert!(rows.next().unwrap().is_some());
        assert!(rows.finish().is_err(), "the trailer never came");
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let mut rows = Rows::new(Format::Binary, 1);
        rows.feed(b"this is no binary COPY stream at all");
        assert!(rows.next().is_err());
    }
}
