//! The commands on the project's pages: each runs, and prints what the page shows.
//!
//! Only fenced blocks with the language `console` are run:
//!
//! ````text
//! ## A heading begins a section, which can run alone
//!
//! <!-- needs: jq -->               the section is skipped without these programs
//! <!-- figures differ -->          a number in shown output stands for any number, 0 only for
//!                                  0, and an exit code (`echo $?`, `exit code 1`) for itself
//! <!-- not run: needs internet --> the block is listed, and not run
//! ```console
//! $ server -q &                    the test waits until a command that ends in & has
//! Server listening on …            printed what is shown; `…` stands for any text
//! # A question, before its command
//! $ seq 2 |                        a command that shows no output prints nothing,
//! > client > out                   and ends with exit status 0
//! $ cat out
//! Server: Server received your message: 1
//! …                                alone on a line, any number of lines
//! ```
//! ````
//!
//! One page alone:
//!
//! ```text
//! cargo test --test pages readme
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

#[path = "../util/headings.rs"]
mod headings;
#[path = "../util/mod.rs"]
#[allow(dead_code, unused_imports)]
mod util;

// What a page says: its sections, and their commands with the shown output.
mod page;

// Whether output is as shown.
mod comparison;

// A bash in a new network and process namespace.
mod namespaces;
mod shell;

// The sections of a page, run beside each other.
mod folder;
mod section;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use headings::anchor;
use page::Page;
use util::print_to_stderr;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Pages that must have commands.
const README: &str = "README.md";
const CLIENT_MANUAL: &str = "src/bin/client/README.md";
const SERVER_MANUAL: &str = "src/bin/server/README.md";
const RECIPES: &str = "tests/neighbours/README.md";

/// A page that may have none.
const BENCHMARK: &str = "tests/load/README.md";

/// The folder of the book, whose pages may have none.
const BOOK: &str = "src/book";

#[test]
fn readme() {
    run_page(&read_page_with_commands(README));
}

#[test]
fn client_manual() {
    run_page(&read_page_with_commands(CLIENT_MANUAL));
}

#[test]
fn server_manual() {
    run_page(&read_page_with_commands(SERVER_MANUAL));
}

#[test]
fn recipes() {
    run_page(&read_page_with_commands(RECIPES));
}

#[test]
fn benchmark() {
    run_page(&read_page(BENCHMARK));
}

#[test]
fn book() {
    let pages: Vec<Page> = pages_in(Path::new(BOOK))
        .iter()
        .map(|name| read_page(name))
        .collect();
    thread::scope(|scope| {
        for page in &pages {
            scope.spawn(|| run_page(page));
        }
    });
}

#[test]
fn no_page_is_left_out() {
    let in_book = format!("{BOOK}/");
    for name in pages_in(Path::new("")) {
        let is_listed =
            [README, CLIENT_MANUAL, SERVER_MANUAL, RECIPES, BENCHMARK].contains(&&*name);
        assert!(
            is_listed || name.starts_with(&in_book),
            "{name} is no page of tests/pages/main.rs: its commands are not run"
        );
    }
}

#[test]
fn the_table_of_the_recipes_has_each_recipe() {
    let text = fs::read_to_string(Path::new(ROOT).join(RECIPES)).unwrap();
    let recipes = text.lines().filter_map(|line| line.strip_prefix("### "));
    let mut count = 0;
    for recipe in recipes {
        count += 1;
        let row = format!("| [{recipe}][");
        let row = text.lines().find_map(|line| line.strip_prefix(&row));
        let row = row.unwrap_or_else(|| panic!("the table has no row {recipe:?}"));
        let (number, _) = row.split_once(']').unwrap();
        let link = format!("[{number}]: #{}", anchor(recipe));
        assert!(text.lines().any(|line| line == link), "missing: {link}");
    }
    assert!(count > 30, "{count}");
}

/// rustdoc shows the manuals, too, and their links lead elsewhere there.
#[test]
fn the_programs_define_the_links_of_their_manuals_for_rustdoc() {
    for program in ["client", "server"] {
        let folder = Path::new(ROOT).join("src/bin").join(program);
        let manual = fs::read_to_string(folder.join("README.md")).unwrap();
        let source = fs::read_to_string(folder.join("main.rs")).unwrap();
        let links = manual
            .lines()
            .filter(|line| line.starts_with('[') && line.contains("]: "));
        let mut count = 0;
        for link in links {
            count += 1;
            let (label, _) = link.split_once("]: ").unwrap();
            let defined = format!("//! {label}]: ");
            assert!(source.contains(&defined), "{program}: no {defined:?}");
        }
        assert!(count > 2, "{program}: {count}");
    }
}

#[test]
fn a_page_without_commands_is_noticed() {
    let text = "# Title\n\n```text\n$ client\n```\n";
    let page = Page::parse("empty.md", text).unwrap();
    let why = require_commands(page).unwrap_err();
    assert_eq!(why, "empty.md: no `console` block");
}

#[test]
fn a_page_whose_only_block_is_not_run_is_noticed() {
    let text = "<!-- not run: slow -->\n```console\n$ client\n```\n";
    let page = Page::parse("slow.md", text).unwrap();
    let why = require_commands(page).unwrap_err();
    assert_eq!(why, "slow.md: no `console` block is run");
}

/// Returns the pages in a folder of the checkout and below, by their paths in the checkout.
fn pages_in(folder: &Path) -> Vec<String> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let name = path.to_str().unwrap().replace('\\', "/");
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            pages.extend(pages_in(&path));
        } else if name.ends_with(".md") {
            pages.push(name);
        }
    }
    pages
}

fn read_page(name: &str) -> Page {
    let text = fs::read_to_string(Path::new(ROOT).join(name));
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
    Page::parse(name, &text).unwrap_or_else(|why| panic!("{why}"))
}

fn read_page_with_commands(name: &str) -> Page {
    require_commands(read_page(name)).unwrap_or_else(|why| panic!("{why}"))
}

/// Returns the page if a test of it would run at least one command.
fn require_commands(page: Page) -> Result<Page, String> {
    if !page.sections.is_empty() {
        return Ok(page);
    }
    if page.not_run.is_empty() {
        return Err(format!("{}: no `console` block", page.name));
    }
    Err(format!("{}: no `console` block is run", page.name))
}

/// Runs all sections of a page, and panics if the output of a command is not as shown.
fn run_page(page: &Page) {
    let begun = Instant::now();
    let failures = section::run_all(page);
    for block in &page.not_run {
        let place = format!("{}:{}", page.name, block.line);
        print_to_stderr(format_args!("not run: {place}: {}", block.why));
    }
    println!(
        "{}: {} commands in {} sections took {:.1} s; {} blocks are not run",
        page.name,
        page.count_commands(),
        page.sections.len(),
        begun.elapsed().as_secs_f64(),
        page.not_run.len()
    );
    assert!(
        failures.is_empty(),
        "{} commands of {} failed\n\n{}",
        failures.len(),
        page.name,
        failures.join("\n\n")
    );
}
