//! The data directory is the same for every kind of deployment.

use crate::kubernetes::{container, pod, variable};
use crate::project::{NAME, Project};

#[test]
fn sqlite_file_is_on_a_persistent_volume() {
    let [project, _] = Project::all();
    let directory = format!("/var/lib/{NAME}");
    let url = format!("sqlite:{directory}/service.db");

    let deployment = project.manifest("deployment");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let container = container(&deployment);
    assert_eq!(variable(container, "APP__DATABASE__URL"), url);
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["mountPath"], directory);
    let pod = pod(&deployment);
    let volume = &pod["volumes"][0];
    assert_eq!(volume["name"], mount["name"]);
    let claim = &project.manifest("volume")["metadata"]["name"];
    assert_eq!(claim, &format!("{NAME}-data"));
    assert_eq!(&volume["persistentVolumeClaim"]["claimName"], claim);
    let security = &pod["securityContext"];
    assert_eq!(security["fsGroup"], security["runAsGroup"]);

    assert_eq!(project.image("VOLUME"), [&directory]);
    let set = format!("APP__DATABASE__URL={url}");
    assert!(project.image("ENV").contains(&set.as_str()));
    let user = project.image("USER").concat();
    let takes = format!("--from=build --chown={user} /data {directory}");
    assert!(project.image("COPY").contains(&takes.as_str()), "{takes}");

    assert_eq!(project.unit("StateDirectory"), [NAME]);
    let set = format!("APP__DATABASE__URL=sqlite:%S/{NAME}/service.db");
    assert_eq!(project.unit("Environment"), [set]);
}

#[test]
fn postgres_url_comes_from_a_secret() {
    let [_, project] = Project::all();

    let deployment = project.manifest("deployment");
    let spec = &deployment["spec"];
    let replicas = spec["replicas"].as_u64().expect("a number");
    assert!(replicas > 1 && spec["strategy"].is_null(), "{spec}");
    let disruption = &project.manifest("disruption")["spec"];
    assert_eq!(disruption["selector"], spec["selector"]);
    assert_eq!(disruption["maxUnavailable"], 1);
    let container = container(&deployment);
    let mount = &container["volumeMounts"][0];
    let directory = mount["mountPath"].as_str().expect("a path");
    let file = variable(container, "APP__DATABASE__URL_FILE");
    assert_eq!(file, format!("{directory}/url"));
    let volume = &pod(&deployment)["volumes"][0];
    assert_eq!(volume["name"], mount["name"]);
    let secret = volume["secret"]["secretName"].as_str().expect("a secret");
    let makes = format!("kubectl create secret generic {secret} --from-file=url=FILE");
    for path in ["README.md", "deploy/kubernetes/deployment.yaml"] {
        assert!(project.text(path).contains(&makes), "{path}: {makes}");
    }

    assert_eq!(project.image("VOLUME"), [""; 0]);
    assert_eq!(project.image("WORKDIR"), [""; 0]);

    assert_eq!(project.unit("StateDirectory"), [""; 0]);
    let file = format!("/etc/{NAME}/database-url");
    let credential = format!("database-url:{file}");
    assert_eq!(project.unit("LoadCredential"), [credential]);
    let set = "APP__DATABASE__URL_FILE=%d/database-url";
    assert_eq!(project.unit("Environment"), [set]);
    let installs = format!("sudo install -D --mode=600 FILE {file}");
    assert!(project.text("README.md").contains(&installs), "{installs}");
}
