//! What both command lines share: addresses, seconds, the logger, the one line
//! of a failure.

use std::io::{self, Write};
use std::{process::ExitCode, time::Duration};

use log::LevelFilter;

use crate::printable::Printable;

/// The port that the server listens on and the client connects to.
pub const DEFAULT_PORT: u16 = 12345;

/// The address that the server listens on and the client connects to: this
/// machine alone.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// Reads the name or address of a host. An IPv6 address may stand in brackets,
/// as in a URL: `[::1]`.
///
/// # Errors
///
/// One line that says what to write, if the text is a port or a URL, or ends in a port.
pub fn host(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "-" {
        return Err("not a name or an address".to_string());
    }
    if text.contains('/') {
        return Err(format!("a host has no '/'; write: {}", of_url(text)));
    }
    // The resolver would take it for an address: 12345 for 0.0.48.57.
    if is_number(text) {
        return Err(format!("this looks like a port; use --port {text}"));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && is_number(port)
        && (host.ends_with(']') || !host.contains(':'))
    {
        return Err(format!("give the port separately: {host} {port}"));
    }
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = inside.filter(|inside| inside.contains(':'));
    Ok(address.unwrap_or(text).to_string())
}

/// The host and the port of a URL, as they are to be written.
fn of_url(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match authority.rsplit_once(':') {
        Some((host, port)) if is_number(port) => format!("{host} {port}"),
        _ if authority.is_empty() => "HOST PORT".to_string(),
        _ => format!("{authority} PORT"),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A host and a port as one text to be shown, an IPv6 address in brackets:
/// `[::1]:12345`.
pub fn address(host: &str, port: u16) -> String {
    let host = Printable(host.as_bytes()).to_string();
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Reads a number of seconds: 0, or from 0.001 on, fractions allowed.
///
/// # Errors
///
/// One line that says what is wrong with the text.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    let is_allowed = seconds >= 0.001 || seconds == 0.0 && seconds.is_sign_positive();
    if !is_allowed || !seconds.is_finite() {
        return Err("neither 0 nor a number of seconds from 0.001 on".to_string());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "too many seconds".to_string())
}

/// A limit of time; `None` is no limit. It has a name because clap takes a field of type
/// `Option` for a flag that may be absent.
pub type Limit = Option<Duration>;

/// Reads the seconds of a limit, which 0 turns off.
///
/// # Errors
///
/// As those of [`seconds`].
pub fn limit(text: &str) -> Result<Limit, String> {
    let limit = seconds(text)?;
    Ok(if limit.is_zero() { None } else { Some(limit) })
}

/// The shorter of two limits.
pub fn shorter(one: Limit, other: Limit) -> Limit {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A number of things as it is said: `1 line`, `2 lines`.
pub fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// A logger to standard error, for the caller to refine and start. It shows
/// `usual` and above, one level less where `quiet`, one more where `verbose`,
/// unless `RUST_LOG` is set and not empty.
pub fn logger(usual: LevelFilter, quiet: bool, verbose: bool) -> env_logger::Builder {
    let mut logger = env_logger::Builder::new();
    match std::env::var("RUST_LOG") {
        Ok(filters) if !filters.is_empty() => logger.parse_filters(&filters),
        _ if quiet => logger.filter_level(usual.decrement_severity()),
        _ if verbose => logger.filter_level(usual.increment_severity()),
        _ => logger.filter_level(usual),
    };
    logger
}

/// Says in one line on standard error why a program ends, and gives its exit
/// code, 1.
pub fn failure(program: &str, error: &anyhow::Error) -> ExitCode {
    // Standard error may be closed, and then there is nobody to tell.
    let _ = writeln!(io::stderr(), "{program}: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_and_fractional_seconds() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.001"), Ok(Duration::from_millis(1)));
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds("600"), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn refuses_anything_else_as_seconds() {
        for text in [
            "", "-1", "-0", "0.0009", "inf", "-inf", "nan", "1e300", "five", "1s",
        ] {
            assert!(seconds(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("30"), Ok(Some(Duration::from_secs(30))));
    }

    #[test]
    fn of_two_limits_the_shorter_one_holds_and_none_is_the_longest() {
        let [one, two] = [1, 2].map(|seconds| Some(Duration::from_secs(seconds)));
        for (a, b, expected) in [
            (one, two, one),
            (two, one, one),
            (one, None, one),
            (None, two, two),
            (None, None, None),
        ] {
            assert_eq!(shorter(a, b), expected);
        }
    }

    #[test]
    fn writes_an_ipv6_address_in_brackets() {
        assert_eq!(address("127.0.0.1", 1), "127.0.0.1:1");
        assert_eq!(address("example.org", 2), "example.org:2");
        assert_eq!(address("::1", 3), "[::1]:3");
        assert_eq!(address("a\nb", 4), "a\\u{a}b:4");
        assert_eq!(address("[x]", 5), "[x]:5");
    }

    #[test]
    fn takes_an_ipv6_address_in_brackets_too() {
        for text in ["", "-"] {
            assert_eq!(host(text), Err("not a name or an address".to_string()));
        }
        for (text, taken) in [("::1", "::1"), ("[::1]", "::1"), ("[a]", "[a]"), ("[", "[")] {
            assert_eq!(host(text), Ok(taken.to_string()));
        }
    }

    #[test]
    fn takes_no_port_for_a_host_or_a_part_of_it() {
        for (text, remedy) in [
            ("80", "--port 80"),
            ("127.0.0.1:80", "127.0.0.1 80"),
            ("[::1]:80", "[::1] 80"),
            ("tcp://h:1", "h 1"),
            ("http://h:1/path", "h 1"),
            ("http://h", "h PORT"),
            ("tcp://[::1]:80/", "[::1] 80"),
            ("http://u:p@h:1/x", "h 1"),
            ("h/1", "h PORT"),
            ("/", "HOST PORT"),
        ] {
            let why = host(text).unwrap_err();
            assert!(why.ends_with(&format!(" {remedy}")), "{text}: {why}");
        }
        for text in ["::80", "fe80::1:80", "h:http", "1.2", "localhost:"] {
            assert_eq!(host(text), Ok(text.to_string()));
        }
    }
}
