//! A network and a process namespace of a program's own: each port is free there, and no
//! process outlives the program.

use std::process::Command;
use std::sync::OnceLock;

use crate::util::{command, installed, run, skip};

/// How this user may create the namespaces.
pub struct Namespaces {
    /// The first words of a command; a program and its arguments follow.
    words: Vec<String>,
}

impl Namespaces {
    /// Finds out how to create the namespaces; skips the test if this process may not.
    #[track_caller]
    pub fn find() -> Option<&'static Namespaces> {
        if !cfg!(target_os = "linux") {
            skip("namespaces are of Linux");
            return None;
        }
        for program in ["bash", "ip", "unshare"] {
            installed(program)?;
        }
        static FOUND: OnceLock<Result<Namespaces, String>> = OnceLock::new();
        match FOUND.get_or_init(Namespaces::try_all) {
            Ok(namespaces) => Some(namespaces),
            Err(why) => {
                skip(format_args!("no namespaces: {why}"));
                None
            }
        }
    }

    /// Returns the first way that works, or the error of the last one.
    fn try_all() -> Result<Namespaces, String> {
        // Another user than root is mapped to root first, who may configure the network,
        // and then back: nginx refuses to be root without other users.
        let user = run(command("id").arg("-u"), "").stdout;
        let group = run(command("id").arg("-g"), "").stdout;
        let user = String::from_utf8(user).unwrap();
        let group = String::from_utf8(group).unwrap();
        let map_back = format!(
            "exec unshare --user --map-user {} --map-group {} \"$0\" \"$@\"",
            user.trim(),
            group.trim()
        );
        let mut why = String::new();
        for (map_to_root, then) in [
            (None, "exec \"$0\" \"$@\""),
            (Some("--map-root-user"), &map_back),
        ] {
            // Some containers do not allow a new /proc; only `ps` and its like need one.
            for new_proc in [Some("--mount-proc"), None] {
                let mut words = vec!["unshare"];
                words.extend(map_to_root);
                words.extend(["--net", "--pid", "--fork", "--kill-child"]);
                words.extend(new_proc);
                let script = format!("ip link set lo up && {then}");
                words.extend(["sh", "-c", &script]);
                let words = words.iter().map(|word| word.to_string()).collect();
                let namespaces = Namespaces { words };
                let tried = run(&mut namespaces.command("true"), "");
                if tried.status.success() {
                    return Ok(namespaces);
                }
                why = tried.stderr.trim_end().to_string();
            }
        }
        Err(why)
    }

    /// Returns a command that runs a program in new namespaces.
    pub fn command(&self, program: &str) -> Command {
        let mut isolated = command(&self.words[0]);
        isolated.args(&self.words[1..]).arg(program);
        isolated
    }
}
