//! Kubernetes: the manifests, and what they say about the service.

use serde_json::{Value, json};

use crate::project::{NAME, Project, seconds};

#[test]
fn everything_has_the_name_of_the_service() {
    for project in Project::all() {
        let deployment = project.manifest("deployment");
        let labels = json!({ "app.kubernetes.io/name": NAME });
        let metadata = json!({ "name": NAME, "labels": labels });
        assert_eq!(deployment["metadata"], metadata);
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(deployment["spec"]["template"]["metadata"]["labels"], labels);
        let service = project.manifest("service");
        assert_eq!(service["metadata"], metadata);
        assert_eq!(service["spec"]["selector"], labels);
        let container = container(&deployment);
        assert_eq!(container["name"], NAME);
        let image = container["image"].as_str().expect("an image");
        let released = format!("/{NAME}:{}", project.package("version"));
        assert!(image.ends_with(&released), "{image}");
    }
}

#[test]
fn requests_and_probes_go_where_the_service_listens() {
    for project in Project::all() {
        let deployment = project.manifest("deployment");
        let container = container(&deployment);
        let port = project.port();
        let ports = json!([{ "name": "http", "containerPort": port }]);
        assert_eq!(container["ports"], ports);
        let listens = variable(container, "APP__HTTP__LISTEN");
        assert_eq!(listens, format!("0.0.0.0:{port}"));
        let service = project.manifest("service");
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "http");
        for (probe, path) in [
            ("startupProbe", "/startupz"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ] {
            // From within: the public listener can be full.
            let binary = format!("/usr/local/bin/{NAME}");
            let asked = json!({ "command": [binary, "healthcheck", &path[1..]] });
            assert_eq!(container[probe]["exec"], asked);
            assert_eq!(container[probe]["httpGet"], Value::Null);
            let asks = project.text("src/frame/health/ask.rs");
            assert!(asks.contains(&format!("=> \"{path}\"")), "{path}");
        }
    }
}

#[test]
fn a_pod_has_as_long_to_stop_as_the_service_may_take() {
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

#[test]
fn a_pod_has_no_rights() {
    for project in Project::all() {
        let deployment = project.manifest("deployment");
        let security = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        let container = container(&deployment);
        assert_eq!(container["securityContext"], security);
        let limits = &container["resources"]["limits"];
        assert!(limits["memory"].is_string(), "{limits}");
        let pod = pod(&deployment);
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
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
