//! `enforcer completions` and `enforcer manual`: made of the same definitions as `--help`, and of the example
//! config, so that they agree with what the program does.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Cli, Exit};
use crate::config::reference::{self, EXAMPLE, Part};

/// The shells that packages have completions for, and where these look for them below /usr/share.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/enforcer"),
    (Shell::Zsh, "zsh/vendor-completions/_enforcer"),
    (Shell::Fish, "fish/vendor_completions.d/enforcer.fish"),
];
/// Above every page.
const MANUAL: &str = "enforcer manual";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(enforcer completions bash)
  enforcer completions zsh > ~/.zfunc/_enforcer
  enforcer completions fish > ~/.config/fish/completions/enforcer.fish

The package installs them for all users.")]
pub(super) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `manual`.
#[derive(Debug, Args)]
pub(super) struct ManualArgs {
    /// The directory, which is made: /usr/share, as packages lay it out.
    dir: PathBuf,
}

/// Writes a shell's completions.
pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    io::stdout().write_all(&completion(args.shell))?;
    Ok(Exit::Ok)
}

/// Writes man pages and completions.
pub(super) fn write(args: &ManualArgs) -> anyhow::Result<Exit> {
    for (path, bytes) in files()? {
        let path = args.dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&args.dir))?;
        fs::write(path, bytes)?;
    }
    Ok(Exit::Ok)
}

/// All of them, by their place below /usr/share.
fn files() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut files = Vec::new();
    pages(&command, &mut files)?;
    files.push(("man/man5/enforcer.toml.5".to_owned(), config_page()));
    files.extend(SHELLS.map(|(shell, path)| (path.to_owned(), completion(shell))));
    Ok(files)
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "enforcer", &mut text);
    text
}

/// A page for a verb and each of those below it.
fn pages(command: &Command, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let man = Man::new(command.clone()).manual(MANUAL);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_long_help().or(command.get_after_help()) {
        page.extend(notes_section(&notes.to_string()));
    }
    page.extend(see_also(command));
    files.push((format!("man/man1/{}", man.get_filename()), page));
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(verb, files)?;
    }
    Ok(())
}

/// Examples and exit codes, line by line as `--help` has them.
fn notes_section(notes: &str) -> Vec<u8> {
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]).control("nf", []);
    for line in notes.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_roff().into_bytes()
}

fn see_also(command: &Command) -> Vec<u8> {
    let mut others = "enforcer.toml(5)".to_owned();
    if command.get_name() != "enforcer" {
        others = format!("enforcer(1), {others}");
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(others)]);
    roff.to_roff().into_bytes()
}

/// The config: what [`reference::markdown`] has, for man(1).
fn config_page() -> Vec<u8> {
    let mut roff = Roff::new();
    let version = concat!("enforcer ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["enforcer.toml", "5", "", version, MANUAL])
        .control("SH", ["NAME"])
        .text([roman("enforcer.toml - the config of enforcer(1)")])
        .control("SH", ["SYNOPSIS"])
        .text([roman("/etc/enforcer/enforcer.toml")])
        .control("SH", ["DESCRIPTION"])
        .text([roman("A value is the default, unless its text says otherwise; \"(not set)\" is not there by default.")]);
    for part in reference::parts(EXAMPLE) {
        match part {
            Part::Prose(prose) => {
                roff.control("PP", []).text([roman(prose)]);
            }
            Part::Table { header, is_set } => {
                roff.control("SH", [format!("{header}{}", mark(is_set)).as_str()]);
            }
            Part::Key { line, is_set } => {
                roff.control("PP", []).text([bold(line), roman(mark(is_set))]);
            }
        }
    }
    roff.to_roff().into_bytes()
}

const fn mark(is_set: bool) -> &'static str {
    if is_set { "" } else { " (not set)" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all() -> BTreeMap<String, String> {
        let files = files().expect("made").into_iter();
        files.map(|(path, bytes)| (path, String::from_utf8(bytes).expect("text"))).collect()
    }

    /// As roff writes a name with dashes.
    fn escaped(text: &str) -> String {
        text.replace('-', "\\-")
    }

    fn each_verb(command: &Command, see: &mut impl FnMut(&Command)) {
        see(command);
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            each_verb(verb, see);
        }
    }

    #[test]
    fn each_verb_has_a_man_page_with_its_options_and_all_that_its_help_says() {
        let all = all();
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let mut seen = 0;
        each_verb(&command, &mut |verb| {
            let name = verb.get_display_name().unwrap_or(verb.get_name());
            let page = &all[&format!("man/man1/{name}.1")];
            for option in verb.get_arguments().filter(|option| !option.is_hide_set()) {
                let Some(long) = option.get_long() else { continue };
                assert!(page.contains(&escaped(&format!("--{long}"))), "{name}: --{long}");
            }
            let notes = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in notes.lines().filter(|line| !line.contains(['\\', '\'', '.', '"'])) {
                assert!(page.contains(&escaped(line)), "{name}: {line}");
            }
            seen += 1;
        });
        let pages = all.keys().filter(|path| path.starts_with("man/man1/")).count();
        assert!(seen > 30 && pages == seen, "{seen} verbs, {pages} pages");
    }

    #[test]
    fn each_shell_completes_every_verb() {
        let all = all();
        let verbs: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(|verb| verb.get_name().to_owned())
            .collect();
        for (_, path) in SHELLS {
            for verb in &verbs {
                assert!(all[path].contains(verb), "{path}: {verb}");
            }
        }
    }

    #[test]
    fn the_configs_page_has_every_line_of_a_key() {
        let page = &all()["man/man5/enforcer.toml.5"];
        for part in reference::parts(EXAMPLE) {
            if let Part::Key { line, .. } = part {
                let key = reference::key(&line).expect("a key");
                assert!(page.contains(&format!("{key} = ")), "{line}");
            }
        }
    }
}
