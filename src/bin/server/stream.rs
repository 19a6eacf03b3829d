//! A client's stream, which a shutdown can interrupt and waits for.

use std::net::TcpStream;
use std::sync::Arc;

use crate::shutdown::{OpenStream, Shutdown};

/// A client's stream. A shutdown waits until it is dropped.
pub(crate) struct Stream {
    pub(crate) tcp: TcpStream,
    /// Dropped after `tcp`: when the count is zero, no stream is open any more.
    open: OpenStream,
}

impl Stream {
    /// Counts the stream as open from now on.
    pub(crate) fn new(tcp: TcpStream, shutdown: &Arc<Shutdown>) -> Self {
        Stream {
            tcp,
            open: shutdown.count_stream(),
        }
    }

    /// The shutdown that waits for this stream.
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.open.shutdown
    }
}
