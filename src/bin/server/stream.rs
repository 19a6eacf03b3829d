//! A client's stream, counted for a shutdown, which waits until it is closed.

use std::net::TcpStream;
use std::sync::Arc;

use crate::shutdown::{OpenStream, Shutdown};

/// A client's stream. A shutdown waits until the stream is dropped.
pub(crate) struct Stream {
    pub(crate) tcp: TcpStream,
    /// Dropped after `tcp`, because fields are dropped in their order. So when the count
    /// of open streams is zero, every socket is closed.
    counted: OpenStream,
}

impl Stream {
    /// Counts the stream as open from now on.
    pub(crate) fn new(tcp: TcpStream, shutdown: &Arc<Shutdown>) -> Self {
        Stream {
            tcp,
            counted: shutdown.count_stream(),
        }
    }

    /// Returns the server's shutdown, which waits for this stream.
    pub(crate) fn server_shutdown(&self) -> &Shutdown {
        &self.counted.shutdown
    }
}
