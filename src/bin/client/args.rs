//! What the user decides about messages, connections and outages.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use tcp_chat::cli::{self, Limit};
use tcp_chat::wire;

/// The flags that the rules depend on.
#[derive(Clone, Debug, Args)]
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
        value_parser = wire::prefix, allow_hyphen_values = true)]
    pub(crate) reply_prefix: Vec<String>,
    /// End this side of each stream after its last line, and still require every reply. A server that
    /// answers only then needs --window to be as large as the input, or as --reconnect-every
    #[arg(long)]
    pub(crate) half_close: bool,
}
