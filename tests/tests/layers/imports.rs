//! The imports between the files of a crate: by `use`, and by paths in the code that begin with
//! `crate` or `super`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use harness::variant::files;

/// The path of a module below the root of its crate. The root's own path is empty.
pub(crate) type Module = Vec<String>;

/// A file that imports another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: Module,
    pub(crate) to: Module,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} imports {}", self.from.join("/"), self.to.join("/"))
    }
}

/// A crate: the paths that its files use, by module.
pub(crate) struct Tree {
    files: BTreeMap<Module, Vec<Use>>,
    imports: Vec<Import>,
}

/// A used path, in its components.
struct Use {
    is_public: bool,
    path: Vec<String>,
}

impl Tree {
    /// Reads all files below a directory, except tests.
    pub(crate) fn read(root: &Path) -> Self {
        let is_test = |part: &OsStr| part == "tests" || part == "tests.rs";
        let is_code = |file: &PathBuf| {
            file.extension().is_some_and(|kind| kind == "rs") && !file.iter().any(is_test)
        };
        let code = files(root).into_iter().filter(is_code).map(|file| {
            let text = fs::read_to_string(root.join(&file)).unwrap();
            (file.display().to_string(), text)
        });
        let code: Vec<_> = code.collect();
        let files = code.iter().map(|(name, text)| (&**name, &**text));
        Self::of(&files.collect::<Vec<_>>())
    }

    /// Builds a crate from file names and texts.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, text)| {
            let uses = uses(&without_tests(&without_comments(text)));
            (module_of(name), uses)
        });
        let mut tree = Self {
            files: files.collect(),
            imports: Vec::new(),
        };
        let imports = tree.files.iter().flat_map(|(from, uses)| {
            let targets = uses.iter().filter_map(|used| {
                let to = tree.target(from, &used.path)?;
                // A parent that re-exports a child does not depend on it.
                let is_reexport = used.is_public && to.starts_with(from);
                (to != *from && !is_reexport).then_some(to)
            });
            let from = from.clone();
            targets.map(move |to| Import {
                from: from.clone(),
                to,
            })
        });
        tree.imports = imports.collect::<BTreeSet<_>>().into_iter().collect();
        tree
    }

    /// Each pair of files once.
    pub(crate) fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// The modules of the crate's root.
    pub(crate) fn modules(&self) -> BTreeSet<&str> {
        let modules = self.files.keys().filter_map(|module| module.first());
        modules.map(String::as_str).collect()
    }

    /// The module that a path refers to, if it is in this crate.
    fn target(&self, from: &Module, path: &[String]) -> Option<Module> {
        let (first, mut rest) = path.split_first()?;
        let mut base = from.clone();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop()?;
                while let Some(("super", more)) = split(rest) {
                    base.pop()?;
                    rest = more;
                }
            }
            child if self.child(from, child).is_some() => rest = path,
            _ => return None,
        }
        Some(self.follow(base, rest))
    }

    /// The module that defines an item: follows re-exports.
    fn follow(&self, mut module: Module, mut path: &[String]) -> Module {
        while let Some((name, rest)) = split(path) {
            let Some(child) = self.child(&module, name) else {
                let reexport = self.files[&module].iter().find(|used| {
                    used.is_public && used.path.last().is_some_and(|last| last == name)
                });
                let target = reexport.and_then(|used| self.target(&module, &used.path));
                return target.filter(|target| *target != module).unwrap_or(module);
            };
            (module, path) = (child, rest);
        }
        module
    }

    fn child(&self, module: &Module, name: &str) -> Option<Module> {
        let child = [module.as_slice(), &[name.to_owned()]].concat();
        self.files.contains_key(&child).then_some(child)
    }
}

fn split(path: &[String]) -> Option<(&str, &[String])> {
    path.split_first()
        .map(|(first, rest)| (first.as_str(), rest))
}

/// `database/mod.rs` and `database.rs` are the module `database`.
fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    let parts = path.split('/').filter(|part| *part != "lib");
    parts.map(str::to_owned).collect()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines();
    let lines = lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n")
}

/// Removes modules of tests, each of which ends with a brace at the start of a line.
fn without_tests(text: &str) -> String {
    let mut parts = text.split("#[cfg(test)]\nmod tests {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |code, part| {
        code + part.split_once("\n}").map_or("", |(_, rest)| rest)
    })
}

/// All used paths that may refer to another file of the crate.
fn uses(text: &str) -> Vec<Use> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = next_use(rest) {
        let (before, after) = rest.split_at(at);
        paths_in(before, &mut found);
        let statement = &after["use ".len()..];
        let (statement, after) = statement.split_once(';').unwrap_or((statement, ""));
        let line = before.rsplit('\n').next().unwrap_or_default();
        let is_public = line.trim_start().starts_with("pub");
        expand(
            &statement.replace(char::is_whitespace, " "),
            "",
            &mut |path| {
                let path = path
                    .split("::")
                    .map(|part| part.trim().to_owned())
                    .collect();
                found.push(Use { is_public, path });
            },
        );
        rest = after;
    }
    paths_in(rest, &mut found);
    found
}

/// The position of the next `use`, preceded on its line by at most a visibility.
fn next_use(text: &str) -> Option<usize> {
    let mut uses = text.match_indices("use ").map(|(at, _)| at);
    uses.find(|at| {
        let line = text[..*at].rsplit('\n').next().unwrap_or_default().trim();
        let is_visibility = line.starts_with("pub(") && line.ends_with(')');
        line.is_empty() || line == "pub" || is_visibility
    })
}

/// Expands a tree such as `a::{b, c::{self, D as E}}` into its paths.
fn expand(tree: &str, prefix: &str, found: &mut impl FnMut(&str)) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        let path = format!("{prefix}{name}");
        return found(path.trim_end_matches("::self"));
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut begin) = (0_usize, 0);
    for (at, char) in inner.char_indices().chain([(inner.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[begin..at].trim().is_empty() {
                    expand(&inner[begin..at], &prefix, found);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The paths in code that begin with `crate` or `super`.
fn paths_in(code: &str, found: &mut Vec<Use>) {
    let is_of_path = |char: char| char.is_alphanumeric() || matches!(char, '_' | ':');
    let words = code.split(|char| !is_of_path(char));
    let paths = words.filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    found.extend(paths.map(|path| Use {
        is_public: false,
        path: path.split("::").map(str::to_owned).collect(),
    }));
}
