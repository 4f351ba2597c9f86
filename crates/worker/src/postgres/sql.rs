//! Quoting, and the one door through which assembled statements reach the driver.

use sqlx::AssertSqlSafe;

/// Marks a statement put together from [`ident`], [`literal`] and fixed words as safe to send.
///
/// `AssertSqlSafe` appears nowhere else, so that dynamic SQL is one search away.
pub(crate) fn assembled(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

/// A quoted identifier.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted string literal that means the same whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// `"a", "b", "c"`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// `t."a", t."b"`.
pub(crate) fn prefixed<'a>(alias: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("{alias}.{}", ident(name))).collect::<Vec<_>>().join(", ")
}

/// `t."a" = s."a" and t."b" = s."b"`: keys are NOT NULL, so plain equality is equality.
pub(crate) fn equal_keys<'a>(left: &str, right: &str, keys: impl IntoIterator<Item = &'a str>) -> String {
    keys.into_iter()
        .map(|key| format!("{left}.{key} = {right}.{key}", key = ident(key)))
        .collect::<Vec<_>>()
        .join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_quotes_spaces_and_case() {
        assert_eq!(ident(r#"Weird "Name""#), r#""Weird ""Name""""#);
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("O'Hara"), "'O''Hara'");
        assert_eq!(literal(r"C:\it's"), r"E'C:\\it''s'");
    }
}
