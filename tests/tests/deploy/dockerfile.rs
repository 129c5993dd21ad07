//! A parser for Dockerfiles and `.dockerignore` files, as far as these tests need it.

/// A build stage: the instructions from one `FROM` to the next.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: Option<String>,
    pub(crate) instructions: Vec<Instruction>,
}

/// An instruction, such as `COPY`, and the rest of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) name: String,
    pub(crate) rest: String,
}

impl Instruction {
    /// The program and its arguments, in the exec form: `["program", "argument"]`.
    #[track_caller]
    pub(crate) fn program(&self) -> Vec<String> {
        let (_, list) = self.rest.split_once('[').expect("the form without a shell");
        serde_json::from_str(&format!("[{list}")).expect("a list of texts")
    }
}

/// `COPY --from=STAGE SOURCE… TARGET`
#[derive(Debug)]
pub(crate) struct Copied<'a> {
    pub(crate) stage: Option<&'a str>,
    pub(crate) sources: Vec<&'a str>,
    pub(crate) target: &'a str,
}

impl<'a> Copied<'a> {
    pub(crate) fn of(instruction: &'a Instruction) -> Self {
        let words = instruction.rest.split(' ');
        let (flags, mut paths): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with("--"));
        let target = paths.pop().expect("a target");
        let stage = flags.iter().find_map(|flag| flag.strip_prefix("--from="));
        Self {
            stage,
            sources: paths,
            target,
        }
    }
}

pub(crate) fn stages(text: &str) -> Vec<Stage> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", "");
    let mut stages: Vec<Stage> = Vec::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(' ').expect("an instruction and its rest");
        if name == "FROM" {
            stages.push(Stage {
                name: rest.split_once(" AS ").map(|(_, name)| name.to_owned()),
                instructions: Vec::new(),
            });
        } else {
            let stage = stages.last_mut().expect("FROM comes first");
            let (name, rest) = (name.to_owned(), rest.to_owned());
            stage.instructions.push(Instruction { name, rest });
        }
    }
    stages
}

/// Whether a `.dockerignore` excludes a file: the last pattern that matches decides. A pattern is a name at the
/// top, or behind `**/` anywhere; of a directory, it matches everything below.
pub(crate) fn excludes(ignored: &str, path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let is_pattern = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut patterns = ignored.lines().filter(is_pattern);
    let last = patterns.rfind(|pattern| {
        let name = pattern.trim_start_matches('!');
        let deep = name.trim_start_matches("**/");
        assert!(!deep.contains('/'), "{pattern} is not implemented");
        if deep == name {
            part_fits(name, parts[0])
        } else {
            parts.iter().any(|part| part_fits(deep, part))
        }
    });
    last.is_some_and(|pattern| !pattern.starts_with('!'))
}

/// Matches a component of a path, in which `*` stands for any characters.
fn part_fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| part_fits(rest, &name[at..]))
        }),
    }
}

#[test]
fn ignored_files_are_those_that_docker_ignores() {
    let ignored = "# all but:\n*\n!src\n!Cargo.*\n**/*.db-*\n**/old\n";
    for (path, excluded) in [
        ("README.md", true),
        (".env", true),
        ("src/main.rs", false),
        ("Cargo.toml", false),
        ("src/a/service.db-wal", true),
        ("src/a/b/old/main.rs", true),
        ("sources/main.rs", true),
    ] {
        assert_eq!(excludes(ignored, path), excluded, "{path}");
    }
}
