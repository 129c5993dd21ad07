//! Guests are greeted, and counted.

use crate::running::{Running, ask};

#[test]
fn a_guest_is_greeted_as_set_and_counted_by_name() {
    let service = Running::start(&["hello.greeting=Ahoy"]);
    let visit = |name: &str| ask(service.http, "POST", &format!("/v1/hello/{name}"), "").json();

    let first = visit("Ada");
    assert_eq!(first["message"], "Ahoy, Ada");
    assert_eq!(
        (&first["times"], &visit("Ada")["times"]),
        (&1.into(), &2.into())
    );
}
