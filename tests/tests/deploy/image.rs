//! Builds the image without Docker: executes each step of the Dockerfile in a scratch directory,
//! which stands for the file system. The commands run as they are written, except for the profile.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use harness::repository;
use harness::variant::build_as_services;

use crate::dockerfile::{Copied, Instruction, Stage, excludes, stages};
use crate::project::{CHOICES, Project};

/// The argument of `docker build --build-arg BUILD_COMMIT=…`.
pub(crate) const COMMIT: &str = "0123456789ab";

/// Replaces cargo: with `--release`, every dependency would be built again, for minutes.
const CARGO: &str = r#"#!/bin/sh
for argument do
    shift
    [ "$argument" = --release ] && argument=--profile=dev
    set -- "$@" "$argument"
done
exec "$REAL_CARGO" "$@"
"#;

/// Serializes builds: the binaries of all projects have the same name.
pub(crate) fn build_alone() -> MutexGuard<'static, ()> {
    static BUILDING: Mutex<()> = Mutex::new(());
    BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An image, whose file system is below `root`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) root: PathBuf,
    /// The `WORKDIR` of the image.
    pub(crate) directory: String,
    /// `ENV`, and `ARG` during the build.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) health: Vec<String>,
}

/// Passes a project's image and its builder to the closure. The first caller builds the image.
pub(crate) fn with_image<T>(
    (database, example): (&str, &str),
    action: impl FnOnce(&mut Builder, &Image) -> T,
) -> T {
    static BUILT: LazyLock<Mutex<BTreeMap<String, (Builder, Image)>>> =
        LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("{database}-{example}");
    let (builder, image) = built.entry(name.clone()).or_insert_with(|| {
        let project = Project::of(database, example, &CHOICES);
        let [file, ignored] = ["Dockerfile", ".dockerignore"].map(|path| project.text(path));
        let mut builder = Builder::new(&name, &project.files, file, ignored);
        let image = builder.build();
        (builder, image)
    });
    action(builder, image)
}

impl Image {
    /// Translates a path of the image to this machine, including the path in a URL of `SQLite`.
    pub(crate) fn place(&self, value: &str) -> String {
        let root = self.root.display();
        match value.strip_prefix("sqlite:") {
            Some(path) => format!("sqlite:{root}{path}"),
            None if value.starts_with('/') => format!("{root}{value}"),
            None => value.to_owned(),
        }
    }
}

/// Builds an image, one instruction after another.
#[derive(Debug)]
pub(crate) struct Builder {
    place: PathBuf,
    /// The files of the build context, by path.
    pub(crate) context: BTreeMap<String, String>,
    /// The modification time of these files.
    checked_out: SystemTime,
    stages: Vec<Stage>,
    /// The output of each `RUN`.
    pub(crate) printed: Vec<String>,
}

impl Builder {
    /// Starts a `docker build` with these files, a Dockerfile and a `.dockerignore`.
    pub(crate) fn new(
        name: &str,
        files: &BTreeMap<String, String>,
        dockerfile: &str,
        ignored: &str,
    ) -> Self {
        let files = files.clone().into_iter();
        let context = files.filter(|(path, _)| !excludes(ignored, path));
        Self {
            place: repository::projects().join("images").join(name),
            context: context.collect(),
            checked_out: SystemTime::now(),
            stages: stages(dockerfile),
            printed: Vec::new(),
        }
    }

    /// Builds all stages without a cache; the last one is the image.
    pub(crate) fn build(&mut self) -> Image {
        let _turn = build_alone();
        _ = fs::remove_dir_all(&self.place);
        self.do_stages(|_| true)
    }

    /// Builds again after a change to the service, in a fresh clone: takes the first `RUN` from the
    /// cache, and executes the rest.
    pub(crate) fn build_on_cache(&mut self, path: &str, text: &str) -> Image {
        let _turn = build_alone();
        self.checked_out = SystemTime::now();
        let before = self.cached_files();
        self.context.insert(path.to_owned(), text.to_owned());
        assert_eq!(self.cached_files(), before, "{path} is in the cached layer");
        let cached = self.cached();
        self.do_stages(|instruction| !cached.contains(instruction))
    }

    /// The instructions up to the first `RUN`, which builds the dependencies.
    fn cached(&self) -> Vec<Instruction> {
        let instructions = &self.stages[0].instructions;
        let run = instructions.iter().position(|step| step.name == "RUN");
        let cached = instructions[..=run.expect("a RUN")].to_vec();
        for instruction in &cached {
            let known = ["WORKDIR", "COPY", "RUN"].contains(&&*instruction.name);
            assert!(known, "{instruction:?} is before the dependencies");
        }
        cached
    }

    /// The files in the layer of the dependencies. While they stay the same, Docker takes the layer
    /// from its cache.
    pub(crate) fn cached_files(&self) -> BTreeMap<String, String> {
        let cached = self.cached();
        let copied = cached.iter().filter(|step| step.name == "COPY");
        let copied = copied.flat_map(|step| Copied::of(step).sources.into_iter());
        let sources: Vec<_> = copied.collect();
        let is_taken = |path: &str| sources.iter().any(|source| below(path, source).is_some());
        self.context
            .iter()
            .filter(|(path, _)| is_taken(path))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect()
    }

    fn do_stages(&mut self, is_done: impl Fn(&Instruction) -> bool) -> Image {
        let mut image = Image::default();
        for number in 0..self.stages.len() {
            image = Image {
                root: self.root(number),
                directory: "/".to_owned(),
                ..Image::default()
            };
            fs::create_dir_all(&image.root).expect("a scratch directory");
            for instruction in self.stages[number].instructions.clone() {
                let always = ["WORKDIR", "ENV"].contains(&&*instruction.name);
                if always || is_done(&instruction) {
                    self.step(&mut image, &instruction);
                }
            }
        }
        image
    }

    fn root(&self, stage: usize) -> PathBuf {
        self.place.join(format!("stage-{stage}"))
    }

    fn step(&mut self, image: &mut Image, instruction: &Instruction) {
        let rest = &instruction.rest;
        match instruction.name.as_str() {
            "WORKDIR" => {
                image.directory.clone_from(rest);
                fs::create_dir_all(image.place(rest)).expect("a directory of the image");
            }
            "ARG" | "ENV" => {
                let (name, value) = rest.split_once('=').expect("a name and a value");
                let is_commit = name == "BUILD_COMMIT";
                let value = if is_commit { COMMIT } else { value };
                image.environment.insert(name.to_owned(), value.to_owned());
            }
            "COPY" => self.copy(image, &Copied::of(instruction)),
            "RUN" => {
                let printed = run(image, rest);
                self.printed.push(printed);
            }
            "ENTRYPOINT" => image.entrypoint = instruction.program(),
            "HEALTHCHECK" => image.health = instruction.program(),
            // These describe the container, and do not change its file system.
            "EXPOSE" | "STOPSIGNAL" | "USER" | "VOLUME" => {}
            _ => panic!("{instruction:?} is not implemented in this test"),
        }
    }

    fn copy(&self, image: &Image, copied: &Copied) {
        let target = Path::new(&image.directory).join(copied.target);
        let target = PathBuf::from(image.place(&target.to_string_lossy()));
        let into_directory = copied.target.ends_with('/');
        if let Some(stage) = copied.stage {
            let is_named = |other: &Stage| other.name.as_deref() == Some(stage);
            let stage = self.stages.iter().position(is_named);
            let from = self.root(stage.expect("a stage of that name"));
            for source in &copied.sources {
                let source = from.join(source.trim_start_matches('/'));
                let mut target = target.clone();
                if into_directory {
                    target.push(source.file_name().expect("a name"));
                }
                copy_tree(&source, &target);
            }
            return;
        }
        for source in &copied.sources {
            let mut found = false;
            for (path, text) in &self.context {
                let Some(rest) = below(path, source) else {
                    continue;
                };
                found = true;
                // A directory copies its contents, a file itself.
                let target = match rest {
                    "" if into_directory => target.join(path),
                    "" => target.clone(),
                    rest => target.join(rest),
                };
                write(&target, text, self.checked_out);
            }
            assert!(found, "COPY {source}: `.dockerignore` excludes all of it");
        }
    }
}

/// Executes a `RUN`, and returns its output.
fn run(image: &Image, command: &str) -> String {
    let leaves = command.split_whitespace().any(|word| word.starts_with('/'));
    assert!(!leaves, "a path outside of the image: {command}");
    let directory = PathBuf::from(image.place(&image.directory));
    let release = directory.join("target/release");
    if !release.exists() {
        fs::create_dir_all(directory.join("target")).expect("a directory of the image");
        symlink(repository::services().join("debug"), release).expect("a symbolic link");
    }
    let tools = directory.join("target/tools");
    let mut shell = shell("sh", &["-c", command], &directory, &tools, ("cargo", CARGO));
    shell.env("REAL_CARGO", env!("CARGO"));
    printed(shell.envs(&image.environment))
}

/// A shell that builds in the target directory of the services, with a stand-in for a program.
pub(crate) fn shell(
    shell: &str,
    arguments: &[&str],
    directory: &Path,
    tools: &Path,
    (program, text): (&str, &str),
) -> Command {
    let stand_in = tools.join(program);
    write(&stand_in, text, SystemTime::now());
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(stand_in, executable).expect("a program");
    let path = env::var("PATH").expect("a PATH");
    let mut shell = Command::new(shell);
    shell
        .args(arguments)
        .current_dir(directory)
        .env("PATH", format!("{}:{path}", tools.display()));
    build_as_services(&mut shell);
    shell
}

/// Runs a command that must succeed, and returns its output.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.output().expect("a shell");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{command:?}\n{printed}");
    printed
}

/// The packages that cargo reports as compiled.
pub(crate) fn compiled(printed: &str) -> Vec<&str> {
    let lines = printed.lines();
    let compiled = lines.filter_map(|line| line.trim_start().strip_prefix("Compiling "));
    compiled.filter_map(|line| line.split(' ').next()).collect()
}

/// The rest of a path below a directory; empty for the path itself.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    match directory {
        "." => Some(path),
        _ => match path.strip_prefix(directory)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        },
    }
}

/// Docker preserves modification times, which cargo compares.
fn write(path: &Path, text: &str, modified: SystemTime) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory of the image");
    fs::write(path, text).expect("a file of the image");
    let file = File::options().write(true).open(path);
    file.expect("a file")
        .set_modified(modified)
        .expect("a time");
}

/// Copies a file or a directory.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a directory")).expect("a directory of the image");
    let mut cp = Command::new("cp");
    cp.args(["-r", "--no-target-directory"]);
    printed(cp.arg(from).arg(to));
}
