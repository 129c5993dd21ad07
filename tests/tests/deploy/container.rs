//! Runs the programs of a deployment in a copy of the image's file system.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use harness::http;
use harness::postgres::Postgres;
use harness::service::{Exit, Launch, Output, Service};
use tempfile::TempDir;

use crate::image::{Image, copy_tree, with_image};

const LISTEN: &str = "APP__HTTP__LISTEN";

/// A copy of an image's files, with the environment and the database of its programs.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) image: Image,
    _files: TempDir,
    postgres: Option<Postgres>,
}

impl Container {
    /// A container with the image's environment. The answers are those of [`with_image`].
    pub(crate) async fn new(answers: (&str, &str)) -> Self {
        let files = TempDir::with_prefix("image-").expect("a scratch directory");
        let image = with_image(answers, |_, image| {
            copy_tree(&image.root, files.path());
            Image {
                root: files.path().to_owned(),
                ..image.clone()
            }
        });
        let postgres = match answers.0 {
            "postgres" => Some(Postgres::start().await.expect("PostgreSQL starts")),
            _ => None,
        };
        Self {
            image,
            _files: files,
            postgres,
        }
    }

    /// A program of the image, by its path in the image, with its arguments.
    pub(crate) fn launch(&self, command: &[String]) -> Launch {
        let (program, arguments) = command.split_first().expect("a program");
        let mut launch = Service::of(self.image.place(program));
        for argument in arguments {
            launch = launch.arg(argument);
        }
        for (name, value) in &self.environment() {
            launch = launch.env(name, value);
            if name == LISTEN {
                launch = launch.unset("http.listen");
            }
        }
        launch.directory(self.image.place(&self.image.directory))
    }

    /// The environment of a program, with paths translated to this machine.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.image.environment.clone();
        for value in environment.values_mut() {
            *value = self.image.place(value);
        }
        // Any free port: the port of the deployment may be in use here.
        if let Some(listen) = environment.get_mut(LISTEN) {
            let (address, _) = listen.rsplit_once(':').expect("an address with a port");
            *listen = format!("{address}:0");
        }
        if let Some(postgres) = &self.postgres {
            let url = postgres.url("postgres");
            match environment.get("APP__DATABASE__URL_FILE") {
                Some(file) => {
                    let directory = Path::new(file).parent().expect("a directory");
                    fs::create_dir_all(directory).expect("a directory for the secret");
                    fs::write(file, url).expect("a file for the secret");
                }
                None => _ = environment.insert("APP__DATABASE__URL".to_owned(), url),
            }
        }
        environment
    }

    /// Starts the service, and returns it when `/readyz` is 200.
    pub(crate) async fn start(&self, launch: Launch) -> Service {
        let service = launch.start().await.expect("a program of the image");
        let service = service.ready().await;
        let mut address = service.http().await;
        if self.image.environment.contains_key(LISTEN) {
            assert!(address.ip().is_unspecified(), "{address} is of one network");
            address.set_ip([127, 0, 0, 1].into());
        }
        let ready = http::get(address, "/readyz").await.expect("an answer");
        assert_eq!(ready.status, 200);
        service
    }

    /// Runs a command beside the running service, as `docker exec` does.
    pub(crate) async fn run_beside(&self, service: &Service, command: &[String]) -> Output {
        let operator = service.operator().await.to_string();
        let launch = self.launch(command).env("APP__OPERATOR__LISTEN", operator);
        launch.run().await.expect("a program of the image")
    }
}

/// Stops the service as Docker, Kubernetes and systemd do: with SIGTERM.
pub(crate) async fn stop(service: Service) -> Exit {
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    exit
}
