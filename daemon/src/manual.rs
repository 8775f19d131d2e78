//! Man pages and completion scripts of a program, from its command line's definition. Both programs use this
//! file (imctl includes it by its path): it knows neither.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use jiff::Timestamp;

/// A section of a man page that the definition does not tell.
#[derive(Clone, Copy)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What is explained, and how.
    pub(crate) items: &'static [(&'static str, &'static str)],
}

/// What a program's pages say beside its definition.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    /// Of every page.
    pub(crate) sections: &'static [Section],
    /// An example of the command itself (named by ``), and of each subcommand: lines and what they do.
    pub(crate) examples: &'static [(&'static str, &'static str, &'static str)],
    /// Other pages, with their section's number.
    pub(crate) see_also: &'static [&'static str],
}

/// Writes the man pages of a command and its subcommands, and completions for bash, zsh and fish. The
/// directory is made if it is missing.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(directory: &Path, command: Command, pages: &Pages) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut command = command.disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let name = command.get_name().to_owned();
        clap_complete::generate_to(shell, &mut command, name, directory)?;
    }
    command.build();
    page(directory, &command, "", pages)?;
    let parent = command.get_name().to_owned();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let of_parent = format!("{parent}(1)");
        page(directory, sub, &of_parent, pages)?;
    }
    Ok(())
}

/// One page. `parent`: the page it belongs to.
fn page(directory: &Path, command: &Command, parent: &str, pages: &Pages) -> io::Result<()> {
    let name = if parent.is_empty() { "" } else { command.get_name() };
    let is_root = name.is_empty();
    let man = Man::new(command.clone());
    let mut text = title(&man.get_filename()).into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if is_root && command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    for section in pages.sections {
        roff.control("SH", [section.title]);
        for (what, words) in section.items {
            item(&mut roff, what, words);
        }
    }
    let examples = pages.examples.iter().filter(|(of, ..)| *of == name || is_root);
    for (index, (_, line, words)) in examples.enumerate() {
        if index == 0 {
            roff.control("SH", ["EXAMPLES"]);
        }
        item(&mut roff, line, words);
    }
    let mut others: Vec<&str> = pages.see_also.to_vec();
    others.extend(Some(parent).filter(|parent| !parent.is_empty()));
    others.sort_unstable();
    others.dedup();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(others.join(", "))]);
    roff.to_writer(&mut text)?;
    let mut file = fs::File::create(directory.join(man.get_filename()))?;
    file.write_all(&text)
}

/// The head of a page. Its date is that of the release, where the packager says it (SOURCE_DATE_EPOCH): a
/// page that is made again is the same.
fn title(file: &str) -> String {
    let name = file.trim_end_matches(".1").to_uppercase();
    let released = std::env::var("SOURCE_DATE_EPOCH").ok();
    let date = released
        .and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok())
        .map_or_else(String::new, |time| time.strftime("%Y-%m-%d").to_string());
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{name}\" \"1\" \"{date}\" \"imd {version}\" \"User Commands\"\n")
}

fn item(roff: &mut Roff, what: &str, words: &str) {
    roff.control("TP", []).text([bold(what)]).text([roman(words)]);
}
