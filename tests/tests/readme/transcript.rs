//! Replays the transcripts of the README: the output of each command must match the page.

use std::fs;

use crate::like::assert_like;
use crate::readme;
use crate::terminal::{Service, generating, shell, steps};

#[test]
fn first_minute_matches_the_readme() {
    let blocks = console_blocks(&readme());
    let [start, questions, end, mistakes] = blocks.as_slice() else {
        panic!("the README has {} transcripts, not four", blocks.len());
    };
    let (home, _lock) = crate::home("first-minute");
    // The project of an earlier run.
    _ = fs::remove_dir_all(home.join("lookout"));

    let (command, expected) = &start[0];
    let command = generating(command).expect("the first command generates");
    let (service, said) = Service::start(&command, &home);
    assert_like(&service.local(expected), &said);

    for (command, expected) in questions {
        let [command, expected] = [command, expected].map(|text| service.local(text));
        assert_like(&expected, &shell(&command, &home));
    }

    assert_like(&end[0].1, &service.interrupt());

    let (command, expected) = &mistakes[0];
    assert_like(expected, &shell(command, &home.join("lookout")));
}

/// Each transcript of a page.
fn console_blocks(page: &str) -> Vec<Vec<(String, String)>> {
    let blocks = page.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks.map(steps).collect()
}
