//! Kubernetes: the manifests agree with the service.

use serde_json::{Value, json};

use crate::container::{Container, stop};
use crate::project::{CHOICES, NAME, PAIRS, Project, seconds};

#[test]
fn manifests_agree_with_the_service() {
    for project in Project::all() {
        let labels = json!({ "app.kubernetes.io/name": NAME });
        let metadata = json!({ "name": NAME, "labels": labels });
        let ports = json!([{ "name": "http", "containerPort": project.port() }]);
        let rights = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        // Inside of the container, since the public listener may be full.
        let probe = |endpoint: &str| {
            let command = [&format!("/usr/local/bin/{NAME}"), "healthcheck", endpoint];
            json!({ "command": command })
        };
        let deployment = project.manifest("deployment");
        let [template, pod, container, service] = [
            &deployment["spec"]["template"],
            pod(&deployment),
            container(&deployment),
            &project.manifest("service"),
        ];
        for (object, place, expected) in [
            (&deployment, "/metadata", metadata.clone()),
            (&deployment, "/spec/selector/matchLabels", labels.clone()),
            (template, "/metadata/labels", labels.clone()),
            (pod, "/automountServiceAccountToken", false.into()),
            (pod, "/securityContext/runAsNonRoot", true.into()),
            (
                pod,
                "/securityContext/seccompProfile/type",
                "RuntimeDefault".into(),
            ),
            (container, "/name", NAME.into()),
            (container, "/ports", ports),
            (container, "/startupProbe/exec", probe("startupz")),
            (container, "/livenessProbe/exec", probe("livez")),
            (container, "/readinessProbe/exec", probe("readyz")),
            (container, "/securityContext", rights),
            (service, "/metadata", metadata),
            (service, "/spec/selector", labels),
            (service, "/spec/ports/0/targetPort", "http".into()),
        ] {
            assert_eq!(object.pointer(place), Some(&expected), "{place}");
        }
        let listens = variable(container, "APP__HTTP__LISTEN");
        assert_eq!(listens, format!("0.0.0.0:{}", project.port()));
        let image = container["image"].as_str().expect("an image");
        let released = format!("/{NAME}:{}", project.package("version"));
        assert!(image.ends_with(&released), "{image}");
        let limits = &container["resources"]["limits"];
        assert!(limits["memory"].is_string(), "{limits}");
    }
}

#[test]
fn pod_has_as_long_to_stop_as_the_service_takes() {
    for project in Project::all() {
        let deployment = project.manifest("deployment");
        let grace = seconds(&project.default("shutdown.grace"));
        assert_eq!(pod(&deployment)["terminationGracePeriodSeconds"], grace);
        let delay = seconds(&variable(container(&deployment), "APP__SHUTDOWN__DELAY"));
        assert!(delay > 0, "load balancers need time to notice");
        let phases = ["drain", "tasks", "close"].map(|phase| format!("shutdown.{phase}"));
        let phases: u64 = phases
            .map(|key| seconds(&project.default(&key)))
            .iter()
            .sum();
        let reserve = 2;
        let needed = delay + phases + reserve;
        assert!(needed <= grace, "{needed} s are more than {grace} s");
    }
}

/// The keys of a manifest that make Kubernetes run a command or send a request.
const STARTING: [&str; 5] = ["args", "command", "grpc", "httpGet", "tcpSocket"];

/// The commands in the manifests, with their places. A test runs each of them.
pub(crate) fn commands(project: &Project) -> Vec<(String, Vec<String>)> {
    let manifests = project.files.keys();
    let manifests = manifests.filter(|path| path.starts_with("deploy/kubernetes/"));
    let mut found = Vec::new();
    for path in manifests {
        collect("", &project.yaml(path), &mut found);
    }
    found
}

fn collect(place: &str, value: &Value, found: &mut Vec<(String, Vec<String>)>) {
    let below: Vec<_> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items.iter().map(|item| ("[]".to_owned(), item)).collect(),
        _ => return,
    };
    for (key, value) in below {
        let place = format!("{place}.{key}");
        if STARTING.contains(&key.as_str()) {
            let command = serde_json::from_value(value.clone());
            found.push((place.clone(), command.unwrap_or_default()));
        }
        collect(&place, value, found);
    }
}

#[tokio::test]
async fn pod_starts_passes_its_probes_and_stops() {
    for (database, example) in PAIRS {
        let project = Project::of(database, example, &CHOICES);
        let deployment = project.manifest("deployment");
        let described = container(&deployment);
        let mut container = Container::new((database, example)).await;
        for variable in described["env"].as_array().expect("variables") {
            let text = |key: &str| variable[key].as_str().expect("a text").to_owned();
            container
                .image
                .environment
                .insert(text("name"), text("value"));
        }
        if let Some(directory) = described["workingDir"].as_str() {
            container.image.directory = directory.to_owned();
        }

        // Without a `command`, the container runs the image's entrypoint.
        let launch = container.launch(&container.image.entrypoint);
        let service = container.start(launch).await;

        let commands = commands(&project);
        let places: Vec<_> = commands.iter().map(|(place, _)| place.as_str()).collect();
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        let probes =
            probes.map(|probe| format!(".spec.template.spec.containers.[].{probe}.exec.command"));
        assert_eq!(places, probes, "the commands that this test runs");
        for (place, command) in &commands {
            let answer = container.run_beside(&service, command).await;
            assert_eq!(answer.code, Some(0), "{place}: {answer:?}");
        }
        stop(service).await;
    }
}

pub(crate) fn pod(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]
}

pub(crate) fn container(deployment: &Value) -> &Value {
    &pod(deployment)["containers"][0]
}

/// The value of a variable of a container.
#[track_caller]
pub(crate) fn variable(container: &Value, name: &str) -> String {
    let variables = container["env"].as_array().expect("variables");
    let found = variables.iter().find(|variable| variable["name"] == name);
    let value = found.and_then(|variable| variable["value"].as_str());
    value.unwrap_or_else(|| panic!("no {name}")).to_owned()
}
