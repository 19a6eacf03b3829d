//! The socket that listens: this process opens it, or inherits it from the program that
//! started it.

use std::io;
use std::net::TcpListener;

use anyhow::{Context, anyhow};
use tcp_chat::cli;
use tcp_chat::system;

/// Where to listen, as the command line says it.
#[derive(clap::Args)]
pub(crate) struct Endpoint {
    /// The name or address to listen on; 0.0.0.0 or :: is every one of this machine's
    #[arg(long, default_value = cli::DEFAULT_HOST, value_parser = cli::host)]
    host: String,
    /// The port to listen on; 0 is any free one
    #[arg(short, long, default_value_t = cli::DEFAULT_PORT)]
    port: u16,
    /// Serve a listening socket that a service manager passes, as standard input or by LISTEN_FDS
    #[arg(long, conflicts_with_all = ["host", "port"])]
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
            .map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => anyhow!("{error}; --port takes another port"),
                _ => error.into(),
            })
            .with_context(|| format!("cannot listen on {}", cli::address(&self.host, self.port)))
    }

    fn bind(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind((self.host.as_str(), self.port))?;
        system::lengthen_queue(&listener)?;
        Ok(listener)
    }
}
