//! A JSON reader as strict as the standard (RFC 8259), for what the client reports.

use std::ops::Index;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text that is one value, with nothing but white space around it.
    #[track_caller]
    pub fn read(text: &str) -> Json {
        let mut rest = text;
        match value(&mut rest) {
            Some(value) if rest.trim_start_matches(SPACE).is_empty() => value,
            _ => panic!("no JSON from {rest:?} on:\n{text}"),
        }
    }

    #[track_caller]
    pub fn number(&self) -> f64 {
        match self {
            Json::Number(number) => *number,
            other => panic!("no number: {other:?}"),
        }
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            other => panic!("no string: {other:?}"),
        }
    }

    #[track_caller]
    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Returns the names of an object's members, in their order.
    #[track_caller]
    pub fn names(&self) -> Vec<&str> {
        match self {
            Json::Object(members) => members.iter().map(|(name, _)| &**name).collect(),
            other => panic!("no object: {other:?}"),
        }
    }
}

impl Index<&str> for Json {
    type Output = Json;

    #[track_caller]
    fn index(&self, name: &str) -> &Json {
        let Json::Object(members) = self else {
            panic!("no object: {self:?}");
        };
        let member = members.iter().find(|(known, _)| known == name);
        &member.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }
}

const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Removes this text from the front, after white space, if it is there.
fn take(rest: &mut &str, text: &str) -> Option<()> {
    *rest = rest.trim_start_matches(SPACE).strip_prefix(text)?;
    Some(())
}

/// Takes a value from the front.
fn value(rest: &mut &str) -> Option<Json> {
    *rest = rest.trim_start_matches(SPACE);
    Some(match rest.chars().next()? {
        'n' => take(rest, "null").map(|()| Json::Null)?,
        't' => take(rest, "true").map(|()| Json::Bool(true))?,
        'f' => take(rest, "false").map(|()| Json::Bool(false))?,
        '"' => Json::Text(string(rest)?),
        '[' => Json::List(several(rest, "[", "]", value)?),
        '{' => {
            let members = several(rest, "{", "}", |rest| {
                let name = string(rest)?;
                take(rest, ":")?;
                Some((name, value(rest)?))
            })?;
            for (at, (name, _)) in members.iter().enumerate() {
                assert!(members[..at].iter().all(|(before, _)| before != name));
            }
            Json::Object(members)
        }
        _ => Json::Number(number(rest)?),
    })
}

/// Takes values between brackets, with commas between them.
fn several<T>(
    rest: &mut &str,
    open: &str,
    close: &str,
    one: impl Fn(&mut &str) -> Option<T>,
) -> Option<Vec<T>> {
    take(rest, open)?;
    let mut all = Vec::new();
    while take(rest, close).is_none() {
        if !all.is_empty() {
            take(rest, ",")?;
        }
        all.push(one(rest)?);
    }
    Some(all)
}

/// Takes a number: a minus sign, digits without a leading zero, a fraction, an exponent.
fn number(rest: &mut &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = [whole, fraction, exponent].into_iter().all(are_digits);
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !is_number || has_leading_zero {
        return None;
    }
    number.parse().ok()
}

/// Takes a string with its quotation marks, and resolves its escapes.
fn string(rest: &mut &str) -> Option<String> {
    take(rest, "\"")?;
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        text.push(match chars.next()? {
            '"' => break,
            '\0'..='\x1f' => return None,
            '\\' => match chars.next()? {
                same @ ('"' | '\\' | '/') => same,
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\x08',
                'f' => '\x0c',
                'u' => {
                    let (code, after) = chars.as_str().split_at_checked(4)?;
                    chars = after.chars();
                    // No pairs of surrogates: nothing that is read here has any.
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                _ => return None,
            },
            other => other,
        });
    }
    *rest = chars.as_str();
    Some(text)
}

#[test]
fn reads_json_and_rejects_everything_else() {
    let read = Json::read(" {\"a\": [1, -0.5e+2, null], \"\\u0062\\n\": {\"\": true}}\n");
    assert_eq!(read.names(), ["a", "b\n"]);
    assert_eq!(read["a"].list()[1].number(), -50.0);
    assert_eq!(read["b\n"][""], Json::Bool(true));
    for wrong in [
        "",
        "nul",
        "[1,]",
        "[1 2]",
        "{\"a\":1,}",
        "01",
        "1.",
        ".5",
        "-",
        "NaN",
        "inf",
        "+1",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"",
        "1 2",
        "{a: 1}",
        "{\"a\": 1, \"a\": 2}",
    ] {
        let read = std::panic::catch_unwind(|| Json::read(wrong));
        assert!(read.is_err(), "{wrong:?} was taken for {read:?}");
    }
}
