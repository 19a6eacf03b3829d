//! Every flag of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, value_parser};
use tcp_chat::cli::{self, Limit};
use tcp_chat::wire;

/// Sends the lines of standard input, verifies and prints every reply.
///
/// Exit code 0 means that every line was sent, acknowledged, verified and printed.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  seq 1000 | client localhost 7000 --retry-for 20 --summary"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) server: Endpoint,
    /// Show counts, rate, reply times and outages at the end
    #[arg(long)]
    pub(crate) summary: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Lines a second, on a schedule that starts with the first line; an overdue line goes out at once
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Show each second how far the run is
    #[arg(long)]
    pub(crate) progress: bool,
    /// Write the end of the run to this file, as one JSON object
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    pub(crate) report: Option<PathBuf>,
    /// Write to this file each second how the run stands, as CSV
    #[arg(long, value_name = "FILE", value_parser = series_file)]
    pub(crate) series: Option<PathBuf>,
    /// Show errors only: no outages
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show each connection, too
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Where the server is, said in order or by flags.
#[derive(clap::Args)]
pub(crate) struct Endpoint {
    /// The name or address of the server [default: 127.0.0.1]
    #[arg(value_name = "HOST", value_parser = host, conflicts_with_all = ["host", "port"])]
    host_argument: Option<String>,
    /// The port of the server [default: 12345]
    #[arg(value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    port_argument: Option<u16>,
    /// The same as HOST
    #[arg(long, display_order = 100, value_parser = host)]
    host: Option<String>,
    /// The same as PORT
    #[arg(short, long, display_order = 100, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,
}

impl Endpoint {
    pub(crate) fn host(&self) -> &str {
        let given = self.host_argument.as_deref().or(self.host.as_deref());
        given.unwrap_or(cli::DEFAULT_HOST)
    }

    pub(crate) fn port(&self) -> u16 {
        let given = self.port_argument.or(self.port);
        given.unwrap_or(cli::DEFAULT_PORT)
    }
}

/// The flags that the rules depend on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// How long to go on trying in each outage; 0 ends the run at the first one
    #[arg(long, value_name = "SECS", default_value = "0", value_parser = cli::seconds)]
    pub(crate) retry_for: Duration,
    /// Most messages in flight, up to 65536; 1 is lockstep
    #[arg(long, value_name = "N", default_value_t = 8192,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub(crate) window: usize,
    /// Longest time without any reply while one is awaited; 0 is for ever
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = cli::limit)]
    pub(crate) timeout: Limit,
    /// Longest time for each attempt to connect; 0 is as long as the system tries
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = cli::limit)]
    pub(crate) connect_timeout: Limit,
    /// Close each connection after so many lines, and open another for the next one; 1 is a connection
    /// for each line
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) reconnect_every: Option<u64>,
    /// What an acknowledgement begins with, before the line's text, unless the server is this
    /// project's; may be given more than once, and an empty one is a plain echo
    #[arg(long, value_name = "TEXT", default_value = wire::DEFAULT_PREFIX,
        value_parser = wire::parse_prefix, allow_hyphen_values = true)]
    pub(crate) reply_prefix: Vec<String>,
    /// End this side of each stream after its last line, and still require every reply. A server that
    /// answers only then needs --window to be as large as the input, or as --reconnect-every
    #[arg(long)]
    pub(crate) half_close: bool,
}

/// Reads the name or address of the server.
fn host(text: &str) -> Result<String, String> {
    // What to write instead is a whole command line here, so it begins with the program.
    cli::host(text).map_err(|why| why.replace("write: ", "write: client "))
}

/// Reads the name of the file for the report.
fn report_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("'-' is no file; use /dev/stdout or /dev/stderr".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Reads the name of the file for the series.
fn series_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("'-' is no file; use /dev/stderr".to_string());
    }
    Ok(PathBuf::from(text))
}

/// Reads a number of lines a second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("not a number above 0".to_string()),
    }
}
