//! A new folder with links to what the checkout has, in which a section runs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ROOT;
use crate::util::temporary_file;

/// The folder. It is removed when this value is dropped.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    pub fn new() -> Folder {
        let folder = Folder {
            root: temporary_file(),
        };
        fs::create_dir_all(folder.path()).unwrap();
        fs::create_dir_all(folder.temporary()).unwrap();
        for entry in fs::read_dir(ROOT).unwrap() {
            let name = entry.unwrap().file_name();
            // A command must not reach the builds or the repository.
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if is_hidden || name == "target" {
                continue;
            }
            link(&Path::new(ROOT).join(&name), &folder.path().join(&name));
        }
        folder
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder in which a section begins.
    pub fn path(&self) -> PathBuf {
        self.root.join("checkout")
    }

    /// Returns the folder for its temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Does not follow the links.
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[cfg(unix)]
fn link(target: &Path, name: &Path) {
    std::os::unix::fs::symlink(target, name).unwrap();
}

/// Without namespaces no section runs, so nothing needs a link.
#[cfg(not(unix))]
fn link(_: &Path, _: &Path) {}
