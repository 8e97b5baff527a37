//! The README's counter, compiled and run as it stands there.
#![allow(missing_docs, clippy::indexing_slicing)]

include!("fixtures/counter.rs");

#[test]
fn the_readme_shows_this_counter() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(include_str!("fixtures/counter.rs")), "README.md and fixtures/counter.rs differ");
}

#[tokio::test]
async fn it_works_as_the_readme_says() -> Result<(), Box<dyn std::error::Error>> {
    let counters = annals::context("counters").decider::<Counter>().projection::<Total>();
    let app = counters.open("memory:").await?;
    for _ in 0..2 {
        let receipt = app.send::<Counter>("visits", Command::Add { amount: 1 }).once("request-1").await?;
        let total = app.view::<Total>("visits").after(&receipt).within(secs(5)).await?;
        assert_eq!(total, Some(Total { amount: 1 }));
    }
    Ok(())
}
