//! A test's own network, in which a path can vanish.

use std::ffi::OsStr;
use std::process::Command;

use super::{Server, program, run, skip};

/// A server in its own network (a namespace), at 127.0.0.2. Its clients are at
/// 127.0.0.1.
pub struct Network {
    pub server: Server,
}

impl Network {
    /// Starts it, unless this process may not arrange that. TCP gives a connection up
    /// after some seconds there.
    #[track_caller]
    pub fn start(args: &[&str]) -> Option<Self> {
        // Rules for what comes before the addresses of the machine itself need another
        // place for those.
        let script = "ip link set lo up && ip rule add pref 100 lookup local && \
                      ip rule del pref 0 && echo 3 > /proc/sys/net/ipv4/tcp_retries2 && \
                      exec \"$0\" \"$@\"";
        program("ip")?;
        program("nsenter")?;
        let isolated = |program: &OsStr| {
            let mut unshare = self::program("unshare")?;
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

    /// A command that runs another one in this network.
    pub fn run(&self, command: &Command) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter
            .arg(format!("--net=/proc/{}/ns/net", self.server.id()))
            .arg(command.get_program());
        nsenter.args(command.get_args());
        nsenter
    }

    /// From now on, the network drops what the server sends.
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
