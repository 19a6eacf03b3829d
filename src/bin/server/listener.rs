//! The socket that listens: this process opens it, or inherits it from the program that
//! started it.

use std::io;
use std::net::TcpListener;

use anyhow::{Context, anyhow};
use tcp_chat::cli::{self, HostError};
use tcp_chat::system;

/// The heading of these flags in the help.
const LISTENING: &str = "Listening";

/// Where to listen, as the command line says it.
#[derive(clap::Args)]
pub(crate) struct Endpoint {
    /// Listen on HOST; 0.0.0.0 or :: = all
    ///
    /// HOST is a name or an address of this machine. With 127.0.0.1, only
    /// programs on this machine can connect. 0.0.0.0 means every IPv4
    /// address of this machine, and :: every address. Anybody who reaches
    /// the port can then connect.
    #[arg(long, help_heading = LISTENING, default_value = cli::DEFAULT_HOST,
        value_parser = host, verbatim_doc_comment)]
    host: String,
    /// Listen on PORT; 0 = any free one
    ///
    /// The line "Server listening on ADDRESS:PORT" on standard output names
    /// the port.
    #[arg(short, long, help_heading = LISTENING, default_value_t = cli::DEFAULT_PORT,
        verbatim_doc_comment)]
    port: u16,
    /// Serve a socket that a service manager passes
    ///
    /// The socket is standard input (inetd's wait, StandardInput=socket), or
    /// descriptor 3 with LISTEN_PID and LISTEN_FDS=1 (systemd).
    #[arg(long, help_heading = LISTENING, conflicts_with_all = ["host", "port"],
        verbatim_doc_comment)]
    inherit: bool,
}

impl Endpoint {
    /// Opens the socket, or takes the inherited one.
    ///
    /// # Errors
    ///
    /// The name does not resolve, the address cannot be listened on, or no listening
    /// socket is inherited.
    pub(crate) fn open(&self) -> anyhow::Result<TcpListener> {
        if self.inherit {
            let why = "no listening TCP socket is inherited, neither as standard input nor as \
                       descriptor 3 (LISTEN_PID, LISTEN_FDS=1)";
            return system::inherited_listener().context(why);
        }
        self.bind()
            .map_err(|error| match remedy(error.kind()) {
                Some(remedy) => anyhow!("{error}; {remedy}"),
                None => error.into(),
            })
            .with_context(|| format!("cannot listen on {}", cli::address(&self.host, self.port)))
    }

    fn bind(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind((self.host.as_str(), self.port))?;
        system::lengthen_queue(&listener)?;
        Ok(listener)
    }
}

/// Says what to do if an address cannot be listened on for this reason.
fn remedy(why: io::ErrorKind) -> Option<&'static str> {
    match why {
        io::ErrorKind::AddrInUse => Some("choose another with --port, or 0 for any"),
        io::ErrorKind::AddrNotAvailable => {
            Some("choose an address of this machine with --host, or 0.0.0.0 for all")
        }
        io::ErrorKind::PermissionDenied => Some("choose a port from 1024 on with --port"),
        _ => None,
    }
}

/// Reads the name or address to listen on. The error says what to write instead.
fn host(text: &str) -> Result<String, String> {
    cli::host(text).map_err(|error| match error {
        HostError::NotAHost => "not a name or an address".to_string(),
        HostError::Number => format!("this looks like a port; use --port {text}"),
        HostError::WithPort { host, port } => {
            format!("give the port separately: --host {host} --port {port}")
        }
        HostError::Url { host, port } => {
            format!("a host has no '/'; write: server --host {host} --port {port}")
        }
    })
}
