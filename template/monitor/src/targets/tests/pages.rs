//! The list of targets.

use super::*;

#[tokio::test]
async fn each_page_of_a_list_links_to_the_next() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.get("/v1/targets").await.body,
        json!({"targets": []})
    );
    let all = fixture.fill(6).await;

    let first = fixture.get("/v1/targets?limit=3").await;
    assert_eq!(first.ids(), all[..3]);
    let link = first.header("link");
    let next = link
        .strip_prefix('<')
        .unwrap()
        .strip_suffix(">; rel=\"next\"");
    let second = fixture.get(next.unwrap()).await;

    assert_eq!(second.ids(), all[3..]);
    assert!(second.body["next"].is_null() && second.header("link").is_empty());
    let next = first.body["next"].as_str().unwrap();
    let second = format!("/v1/targets?cursor={next}&limit=2");
    assert_eq!(fixture.get(&second).await.ids(), all[3..5]);
}

#[tokio::test]
async fn lasting_targets_are_listed_once_during_changes() {
    let fixture = Fixture::new().await;
    let all = fixture.fill(6).await;
    let first = fixture.get("/v1/targets?limit=2").await;
    // The target before the cursor, the one after it, and the last.
    for gone in [all[1], all[2], all[5]] {
        assert_eq!(fixture.delete(gone, "").await.status, 204);
    }
    let new = fixture.add(json!({"url": "http://new.example"})).await.id();

    let next = first.body["next"].as_str().unwrap();
    let rest = fixture.get(&format!("/v1/targets?cursor={next}")).await;

    assert_eq!(rest.ids(), [all[3], all[4], new]);
    assert!(new > all[5], "no number is given twice");
}

#[tokio::test]
async fn invalid_page_parameter_is_named() {
    let fixture = Fixture::new().await;
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=few", "limit"),
        ("cursor=", "cursor"),
        ("cursor=here", "cursor"),
        ("page=2", "page"),
    ] {
        let refused = fixture.get(&format!("/v1/targets?{query}")).await;
        assert_eq!(
            refused.problem(),
            (400, "bad_request", parameter),
            "{query}"
        );
    }
}
