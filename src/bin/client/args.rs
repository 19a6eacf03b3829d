//! Every flag of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Parser, value_parser};
use tcp_chat::cli::{self, HelpFlags, HostError, Limit};
use tcp_chat::wire;

// The headings of the help.
const CONNECTION: &str = "Connection";
const CHECKING: &str = "Sending and checking";
const OUTPUT: &str = "Output";

/// What follows the flags in the help.
const AFTER_HELP: &str = "\
A timeout of 0 is no limit; --retry-for 0 (default) fails at the first outage.
Exit codes: 0 every line acknowledged and printed; 1 failure; 2 usage;
  141 output closed; 129/130/143 ended by SIGHUP/SIGINT/SIGTERM
Examples:
  echo hello | client -q --timeout 2                      # health check
  seq 10000 | client --rate 1000 --retry-for 60 --summary # measure a restart";

// The help shows the flags in the order of these fields. In `-h`, each has one line of at most
// 79 columns.

/// Send lines to a server, check that every line comes back, print the replies
#[derive(Parser)]
#[command(
    name = "client",
    version = concat!(env!("CARGO_PKG_VERSION"), " (tcp-chat)"),
    override_usage = "client [OPTIONS] [HOST] [PORT] < LINES",
    after_help = AFTER_HELP,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) server: Endpoint,
    /// Send N lines a second, on a fixed schedule
    ///
    /// The schedule starts with the first line. An overdue line is sent at
    /// once. Without this flag, each line is sent as soon as it is read and
    /// the window allows it.
    #[arg(long, help_heading = CHECKING, value_name = "N", value_parser = rate,
        verbatim_doc_comment)]
    pub(crate) rate: Option<f64>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Show each second how far the run is
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) progress: bool,
    /// Show counts, rate, reply times and outages at the end
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) summary: bool,
    /// Write the results to FILE at the end, as one JSON object
    ///
    /// The file is empty until then.
    #[arg(long, help_heading = OUTPUT, value_name = "FILE", value_parser = report_file,
        verbatim_doc_comment)]
    pub(crate) report: Option<PathBuf>,
    /// Write a row to FILE each second, as CSV
    ///
    /// The last row is written at the end of the run. If FILE is a FIFO
    /// without a reader, the run goes on. But it fails if nobody reads the
    /// last row within 1 s.
    #[arg(long, help_heading = OUTPUT, value_name = "FILE", value_parser = series_file,
        verbatim_doc_comment)]
    pub(crate) series: Option<PathBuf>,
    /// Show errors only, and no outages
    ///
    /// If RUST_LOG is set and not empty, it decides instead of -q and -v.
    #[arg(short, long, help_heading = OUTPUT, conflicts_with = "verbose",
        verbatim_doc_comment)]
    pub(crate) quiet: bool,
    /// Show each connection, too
    #[arg(short, long, help_heading = OUTPUT)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    _help: HelpFlags,
}

impl Args {
    /// Reads the command line. Ends the program if the command line is wrong, or if it asks for
    /// the help or the version.
    pub(crate) fn read() -> Self {
        let mut args = Args::parse();
        if let Err(error) = args.server.resolve() {
            error.exit();
        }
        args
    }
}

/// Where the server is. The host and the port each come from an argument or from a flag.
#[derive(clap::Args)]
pub(crate) struct Endpoint {
    /// Server name or address [default: 127.0.0.1]
    #[arg(value_name = "HOST", value_parser = first_argument)]
    first_argument: Option<FirstArgument>,
    /// Server port [default: 12345]
    #[arg(value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    port_argument: Option<u16>,
    /// Connect to this host, the same as HOST
    #[arg(long, help_heading = CONNECTION, value_parser = host)]
    host: Option<String>,
    /// Connect to this port, the same as PORT
    #[arg(short, long, help_heading = CONNECTION, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// The first argument. What a number stands for depends on the flags: with `--host`, it is the
/// port. Otherwise it is an error.
#[derive(Clone)]
enum FirstArgument {
    Host(String),
    Number(String),
}

impl Endpoint {
    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or(cli::DEFAULT_HOST)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(cli::DEFAULT_PORT)
    }

    /// Makes the fields of the flags say also what the arguments say.
    ///
    /// # Errors
    ///
    /// The host or the port is given twice, or the first argument is a number and not a port.
    fn resolve(&mut self) -> Result<(), clap::Error> {
        let mut host_argument = None;
        match self.first_argument.take() {
            None => {}
            Some(FirstArgument::Host(host)) => host_argument = Some(host),
            Some(FirstArgument::Number(number)) => {
                if self.host.is_none() {
                    let why = in_words(HostError::Number, &number);
                    return Err(invalid_argument("[HOST]", &number, &why));
                }
                if self.port_argument.is_some() {
                    return Err(given_twice("host", "HOST", "--host"));
                }
                self.port_argument = Some(port(&number)?);
            }
        }
        if host_argument.is_some() {
            if self.host.is_some() {
                return Err(given_twice("host", "HOST", "--host"));
            }
            self.host = host_argument;
        }
        if self.port_argument.is_some() {
            if self.port.is_some() {
                return Err(given_twice("port", "PORT", "--port"));
            }
            self.port = self.port_argument;
        }
        Ok(())
    }
}

/// Returns the error of a value that is given as an argument and by a flag.
fn given_twice(what: &str, argument: &str, flag: &str) -> clap::Error {
    let error = format!("the {what} is given twice, as {argument} and by {flag}; leave one out\n");
    clap::Error::raw(ErrorKind::ArgumentConflict, error)
}

/// Returns the error of an argument, in the form that clap's errors have.
fn invalid_argument(argument: &str, value: &str, why: &str) -> clap::Error {
    let error = format!(
        "invalid value '{value}' for '{argument}': {why}\n\nFor more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::ValueValidation, error)
}

/// Reads the port of the server, given as the first argument.
fn port(number: &str) -> Result<u16, clap::Error> {
    match number.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => {
            let why = format!("{number} is not in 1..=65535");
            Err(invalid_argument("[PORT]", number, &why))
        }
    }
}

/// The flags that the rules depend on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// Limit for one attempt to connect
    ///
    /// The look-up of the server's name counts, too. Several addresses of a
    /// name share the limit. 0 means as long as the system tries.
    #[arg(long, help_heading = CONNECTION, value_name = "SECS", default_value = "10",
        value_parser = cli::limit, verbatim_doc_comment)]
    pub(crate) connect_timeout: Limit,
    /// Limit for waiting for a reply
    ///
    /// The run fails, or an outage begins, if messages are in flight and no
    /// reply comes for so long. 0 means no limit.
    #[arg(long, help_heading = CONNECTION, value_name = "SECS", default_value = "30",
        value_parser = cli::limit, verbatim_doc_comment)]
    pub(crate) timeout: Limit,
    /// Reconnect and resend for up to SECS per outage
    ///
    /// 0, the default, ends the run at the first outage.
    #[arg(long, help_heading = CONNECTION, value_name = "SECS", default_value = "0",
        hide_default_value = true, value_parser = cli::seconds, verbatim_doc_comment)]
    pub(crate) retry_for: Duration,
    /// Open a new connection for every N lines
    ///
    /// The old connection is closed after the replies to its lines. 1 means
    /// a connection for each line.
    #[arg(long, help_heading = CONNECTION, value_name = "N",
        value_parser = value_parser!(u64).range(1..), verbatim_doc_comment)]
    pub(crate) reconnect_every: Option<u64>,
    /// End the sending direction after the last line
    ///
    /// Every reply is still required. If the server replies only after the
    /// half-close, --window must cover all lines of the connection (at most
    /// 512 KiB).
    #[arg(long, help_heading = CONNECTION, verbatim_doc_comment)]
    pub(crate) half_close: bool,
    /// Max lines read but not replied to
    ///
    /// N is at most 65536. The window also ends with the line that reaches
    /// 512 KiB. 1 waits for each reply before the next line. With
    /// --reconnect-every, a larger window than its N has no effect.
    #[arg(long, help_heading = CHECKING, value_name = "N", default_value_t = 8192,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536),
        verbatim_doc_comment)]
    pub(crate) window: usize,
    /// Require this start of replies; '' = plain echo
    ///
    /// The rest of a good reply is the line's text. This flag may be given
    /// more than once; each reply must then begin with one of the texts.
    /// Without this flag, TEXT is "Server received your message: ".
    #[arg(long, help_heading = CHECKING, value_name = "TEXT",
        default_value = wire::DEFAULT_PREFIX, hide_default_value = true,
        value_parser = wire::parse_prefix, allow_hyphen_values = true, verbatim_doc_comment)]
    pub(crate) reply_prefix: Vec<String>,
}

/// Reads the first argument.
fn first_argument(text: &str) -> Result<FirstArgument, String> {
    match cli::host(text) {
        Ok(host) => Ok(FirstArgument::Host(host)),
        Err(HostError::Number) => Ok(FirstArgument::Number(text.to_string())),
        Err(error) => Err(in_words(error, text)),
    }
}

/// Reads the name or address of the server.
fn host(text: &str) -> Result<String, String> {
    cli::host(text).map_err(|error| in_words(error, text))
}

/// Says why a text is not a host, and what to write instead.
fn in_words(error: HostError, text: &str) -> String {
    match error {
        HostError::NotAHost => "not a name or an address".to_string(),
        HostError::Number => format!("this looks like a port; use --port {text}"),
        HostError::WithPort { host, port } => format!("give the port separately: {host} {port}"),
        HostError::Url { host, port } => {
            format!("a host has no '/'; write: client {host} {port}")
        }
    }
}

/// Reads the name of the file for the report.
fn report_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("'-' is not a file; use /dev/stdout or /dev/stderr".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Reads the name of the file for the series.
fn series_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("'-' is not a file; use /dev/stderr".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Reads a number of lines a second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("must be a number above 0".to_string()),
    }
}
