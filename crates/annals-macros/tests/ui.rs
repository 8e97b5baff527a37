//! What the compiler says about mistakes: one readable line at the right place.

#[test]
fn mistakes_are_one_line_at_the_right_place() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
