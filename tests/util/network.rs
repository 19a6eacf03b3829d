//! A separate network (a namespace) with a server, in which a path can vanish.

use std::ffi::OsStr;
use std::process::Command;

use super::{Server, installed, run, skip};

/// A network with a server at 127.0.0.2, whose clients are at 127.0.0.1.
pub struct Network {
    pub server: Server,
}

impl Network {
    /// Starts the network and the server; skips the test if this process may not do that.
    /// TCP gives up a connection after some seconds there.
    #[track_caller]
    pub fn start(args: &[&str]) -> Option<Self> {
        // The rule for the machine's own addresses has the first priority. It moves to 100
        // to let `drop_replies` add one before it.
        let script = "ip link set lo up && ip rule add pref 100 lookup local && \
                      ip rule del pref 0 && echo 3 > /proc/sys/net/ipv4/tcp_retries2 && \
                      exec \"$0\" \"$@\"";
        installed("ip")?;
        installed("nsenter")?;
        let isolated = |program: &OsStr| {
            let mut unshare = self::installed("unshare")?;
            unshare.args(["--net", "sh", "-c", script]).arg(program);
            Some(unshare)
        };
        let tried = run(&mut isolated("true".as_ref())?, "");
        if !tried.status.success() {
            skip(format_args!(
                "no network of its own: {}",
                tried.stderr.trim_end()
            ));
            return None;
        }
        let mut server = isolated(env!("CARGO_BIN_EXE_server").as_ref())?;
        server.args(["--host", "127.0.0.2", "--port", "0"]);
        Some(Network {
            server: Server::spawn(server.args(args)),
        })
    }

    /// Returns the command run in this network.
    pub fn run(&self, command: &Command) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter
            .arg(format!("--net=/proc/{}/ns/net", self.server.id()))
            .arg(command.get_program());
        nsenter.args(command.get_args());
        nsenter
    }

    /// Makes the network drop all that the server sends from now on.
    pub fn drop_replies(&self) {
        let mut ip = Command::new("ip");
        ip.args([
            "rule",
            "add",
            "pref",
            "50",
            "from",
            "127.0.0.2",
            "to",
            "127.0.0.1",
            "blackhole",
        ]);
        run(&mut self.run(&ip), "").assert(0, "", "");
    }
}
