//! The common name of a certificate's subject, which names the host where the certificate has no names of hosts.

use tokio_rustls::rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `2.5.4.3`.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// Whether a certificate that names no host has this one as its common name, its letters' case apart. `*` stands for one
/// label at the left.
pub(super) fn names(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return false };
    certificate.valid_dns_names().next().is_none()
        && common_name(certificate.subject()).is_some_and(|name| matches(name, host))
}

fn matches(name: &str, host: &str) -> bool {
    let is_same = |left: &str, right: &str| left.eq_ignore_ascii_case(right);
    let (Some(suffix), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.')) else {
        return is_same(name, host);
    };
    host.parse::<std::net::IpAddr>().is_err() && !label.is_empty() && is_same(suffix, rest)
}

/// The last common name among the parts of a subject.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    let mut found = None;
    while let Some((SET, mut set)) = next(&mut subject) {
        while let Some((SEQUENCE, mut part)) = next(&mut set) {
            if next(&mut part) == Some((OBJECT_IDENTIFIER, &COMMON_NAME[..])) {
                let (_, value) = next(&mut part)?;
                found = std::str::from_utf8(value).ok();
            }
        }
    }
    found
}

/// The tag and the content of the next element in DER, taken off.
fn next<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    // A length of more than 127 stands in so many bytes that follow.
    let (length, rest) = match length.checked_sub(0x80) {
        None => (usize::from(length), rest),
        Some(bytes @ 1..=2) => {
            let (digits, rest) = rest.split_at_checked(usize::from(bytes))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        Some(_) => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_name_is_found_among_the_parts_of_a_subject() {
        // C=DE, CN=db.test
        let subject = b"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02DE\x31\x10\x30\x0e\x06\x03\x55\x04\x03\x0c\x07db.test";
        assert_eq!(common_name(subject), Some("db.test"));
        for cut in 0..subject.len() {
            assert!(common_name(&subject[..cut]).is_none_or(|name| name == "db.test"));
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(matches("*.example.org", "DB.example.org") && matches("db", "DB"));
        assert!(!matches("*.example.org", "a.b.example.org") && !matches("*.example.org", "example.org"));
        assert!(!matches("*.0.0.1", "127.0.0.1"));
    }
}
