//! The parts that both programs' command lines share: hosts and ports, numbers of
//! seconds, the flags for help and version, the logger, and the one line about a failure.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgAction;
use log::LevelFilter;

use crate::printable::Printable;

/// The port that the server listens on and the client connects to.
pub const DEFAULT_PORT: u16 = 12345;

/// The address that the server listens on and the client connects to. Only programs on
/// this machine can reach it.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// The flags `--help` and `--version`. In each program's help, they come last, under a heading
/// of their own. clap's own flags would come first.
#[derive(clap::Args)]
pub struct HelpFlags {
    /// Show this help; --help shows more
    #[arg(id = "help", short = 'h', long = "help", help_heading = "Help",
        action = ArgAction::Help)]
    _help: (),
    /// Show the program's name and version
    #[arg(id = "version", short = 'V', long = "version", help_heading = "Help",
        action = ArgAction::Version)]
    _version: (),
}

/// Why a text is not a host. Each program has its own message about it, because the
/// remedy names that program's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    /// The text is empty or a dash.
    NotAHost,
    /// The text is a number, and so probably a port.
    Number,
    /// The text ends in a port: `localhost:80`.
    WithPort {
        /// The text before the port.
        host: String,
        /// The port.
        port: String,
    },
    /// The text has a slash, as a URL has.
    Url {
        /// The host in the URL, or `HOST` if there is none.
        host: String,
        /// The port in the URL, or `PORT` if there is none.
        port: String,
    },
}

/// Reads the name or address of a host. An IPv6 address may stand in brackets,
/// as in a URL: `[::1]`.
///
/// # Errors
///
/// Says why the text is not a host: it is a number or a URL, ends in a port, is empty, or
/// is a dash.
pub fn host(text: &str) -> Result<String, HostError> {
    if text.is_empty() || text == "-" {
        return Err(HostError::NotAHost);
    }
    if text.contains('/') {
        return Err(split_url(text));
    }
    // The resolver would take a number for an address: 12345 for 0.0.48.57.
    if is_number(text) {
        return Err(HostError::Number);
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        // In an IPv6 address without brackets, such as ::80, the last part is no port.
        let is_part_of_ipv6 = host.contains(':') && !host.ends_with(']');
        if is_number(port) && !is_part_of_ipv6 {
            return Err(HostError::WithPort {
                host: host.to_string(),
                port: port.to_string(),
            });
        }
    }
    Ok(without_brackets(text).to_string())
}

/// Removes the brackets from an IPv6 address. Any other text stays as it is.
fn without_brackets(text: &str) -> &str {
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match inside {
        Some(address) if address.contains(':') => address,
        _ => text,
    }
}

/// Returns the host and the port of a URL, as the error about the URL.
fn split_url(url: &str) -> HostError {
    let after_scheme = match url.split_once("://") {
        Some((_scheme, rest)) => rest,
        None => url,
    };
    let authority = after_scheme.split('/').next().unwrap_or_default();
    let authority = match authority.rsplit_once('@') {
        Some((_user, rest)) => rest,
        None => authority,
    };
    let mut host = authority;
    let mut port = "PORT";
    if let Some((before, after)) = authority.rsplit_once(':')
        && is_number(after)
    {
        host = before;
        port = after;
    }
    if host.is_empty() {
        host = "HOST";
    }
    HostError::Url {
        host: host.to_string(),
        port: port.to_string(),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns a host and a port as one text to print, an IPv6 address in brackets:
/// `[::1]:12345`.
pub fn address(host: &str, port: u16) -> String {
    let host = Printable(host.as_bytes()).to_string();
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Reads a number of seconds: 0, or at least 0.001, with or without a fraction.
///
/// # Errors
///
/// Says in one line what the text must be: a number, without a unit, and within the limits.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) if has_unit(text) => {
            return Err("write seconds without a unit: 5 or 0.5".to_string());
        }
        Err(_) => return Err("must be a number of seconds, such as 5 or 0.5".to_string()),
    };
    // -0 is refused like other negative numbers.
    let is_zero = seconds == 0.0 && seconds.is_sign_positive();
    let is_allowed = is_zero || seconds >= 0.001;
    if !is_allowed {
        return Err("must be 0 or at least 0.001".to_string());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "too large a number of seconds".to_string())
}

/// Whether a text begins as a number and ends in a unit: `5s`, `0.5 min`.
fn has_unit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_alphabetic())
}

/// A time limit; `None` means no limit. It has its own name because clap treats a field
/// of type `Option` as a flag that may be absent.
pub type Limit = Option<Duration>;

/// Reads a time limit in seconds; 0 means no limit.
///
/// # Errors
///
/// The same as [`seconds`].
pub fn limit(text: &str) -> Result<Limit, String> {
    let limit = seconds(text)?;
    if limit.is_zero() {
        return Ok(None);
    }
    Ok(Some(limit))
}

/// Returns the shorter of two limits.
pub fn shorter(one: Limit, other: Limit) -> Limit {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (Some(limit), None) | (None, Some(limit)) => Some(limit),
        (None, None) => None,
    }
}

/// Returns a number with its noun, in the singular or plural: `1 line`, `2 lines`.
pub fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// How much a program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// One level less than usual.
    Quiet,
    /// The program's usual level, and all more severe ones.
    Usual,
    /// One level more than usual.
    Verbose,
}

/// Returns a logger to standard error, for the caller to refine and start. If `RUST_LOG`
/// is set and not empty, the variable decides which lines the logger shows. Otherwise,
/// `verbosity` decides; `usual` is the program's usual level.
pub fn logger(usual: LevelFilter, verbosity: Verbosity) -> env_logger::Builder {
    let level = match verbosity {
        Verbosity::Quiet => usual.decrement_severity(),
        Verbosity::Usual => usual,
        Verbosity::Verbose => usual.increment_severity(),
    };
    let mut logger = env_logger::Builder::new();
    match env::var("RUST_LOG") {
        Ok(filters) if !filters.is_empty() => logger.parse_filters(&filters),
        _ => logger.filter_level(level),
    };
    logger
}

/// Prints on standard error, in one line, why a program fails. Returns the exit code 1.
pub fn print_failure(program: &str, error: &anyhow::Error) -> ExitCode {
    // If standard error is closed, nothing else can show the error.
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
    fn refuses_anything_else_as_seconds_and_says_what_to_write() {
        for (why, texts) in [
            (
                "must be 0 or at least 0.001",
                &["-1", "-0", "0.0009", "-inf", "nan"][..],
            ),
            ("too large a number of seconds", &["inf", "1e300"]),
            (
                "must be a number of seconds, such as 5 or 0.5",
                &["", "five", "1,5", "s"],
            ),
            (
                "write seconds without a unit: 5 or 0.5",
                &["1s", "5 min", "0.5s"],
            ),
        ] {
            for text in texts {
                assert_eq!(seconds(text), Err(why.to_string()), "{text:?}");
            }
        }
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("30"), Ok(Some(Duration::from_secs(30))));
    }

    #[test]
    fn the_shorter_of_two_limits_applies_and_none_is_the_longest() {
        let one = Some(Duration::from_secs(1));
        let two = Some(Duration::from_secs(2));
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
            assert_eq!(host(text), Err(HostError::NotAHost));
        }
        for (text, taken) in [("::1", "::1"), ("[::1]", "::1"), ("[a]", "[a]"), ("[", "[")] {
            assert_eq!(host(text), Ok(taken.to_string()));
        }
    }

    #[test]
    fn refuses_a_port_as_a_host_or_as_a_part_of_it() {
        assert_eq!(host("80"), Err(HostError::Number));
        for (text, host_in_it, port_in_it) in [
            ("127.0.0.1:80", "127.0.0.1", "80"),
            ("[::1]:80", "[::1]", "80"),
        ] {
            let error = HostError::WithPort {
                host: host_in_it.to_string(),
                port: port_in_it.to_string(),
            };
            assert_eq!(host(text), Err(error), "{text}");
        }
        for (text, host_in_it, port_in_it) in [
            ("tcp://h:1", "h", "1"),
            ("http://h:1/path", "h", "1"),
            ("http://h", "h", "PORT"),
            ("tcp://[::1]:80/", "[::1]", "80"),
            ("http://u:p@h:1/x", "h", "1"),
            ("h/1", "h", "PORT"),
            ("/", "HOST", "PORT"),
        ] {
            let error = HostError::Url {
                host: host_in_it.to_string(),
                port: port_in_it.to_string(),
            };
            assert_eq!(host(text), Err(error), "{text}");
        }
        for text in ["::80", "fe80::1:80", "h:http", "1.2", "localhost:"] {
            assert_eq!(host(text), Ok(text.to_string()));
        }
    }
}
