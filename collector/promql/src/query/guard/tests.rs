//! What is admitted, how it is written, and what is refused.

use super::*;

fn refused(text: &str) -> String {
    admit(text).unwrap_err().to_string()
}

#[test]
fn raw_strings_become_quoted_ones_and_the_rest_stays() {
    assert_eq!(admit(r#"up{a=~`\d+"x`}"#).unwrap(), r#"up{a=~"\\d+\"x"}"#);
    let plain = r#"sum by (a) (rate(x{b!="\"c\""}[5m:1m] offset -1h @ end())) # why"#;
    assert_eq!(admit(plain).unwrap().trim_end(), plain.trim_end_matches("# why").trim_end());
}

#[test]
fn nesting_is_bounded_before_anything_recurses() {
    assert!(refused(&"(".repeat(1_000_000)).contains("over the limit of 65536"));
    assert!(refused(&"(".repeat(60_000)).contains("nested deeper"));
    assert!(refused(&"-".repeat(60_000)).contains("limit"));
    assert!(refused(&vec!["1"; 2000].join("+")).contains("nested deeper"));
    assert!(refused(&format!("{}1{}", "-(".repeat(70), ")".repeat(70))).contains("nested deeper"));
    assert!(admit(&vec!["1"; DEPTH_MAX].join("+")).is_ok());
    assert!(admit(&format!("label_join(x{})", ",\"a\"".repeat(2000))).is_ok(), "arguments side by side are not deep");
}

#[test]
fn durations_that_the_grammar_cannot_hold_are_refused() {
    for text in [
        "x[1e300]",
        "x offset 1e300",
        "x offset nan",
        "x offset inf",
        "x offset -inf",
        "x[5m:1e99]",
        "x[1h99999999999s]",
    ] {
        assert!(refused(text).contains("out of range"), "{text}");
    }
    assert!(admit("x[300] offset 1.5").is_ok());
    assert!(admit("x offset 5m > 1e300").is_ok(), "a number elsewhere is a number");
}

#[test]
fn escapes_of_what_is_no_escape_are_refused() {
    for text in [r##"up{a="\é"}"##, r##"up{a='x\n\é'}"##, r##"up{a="\q"}"##] {
        assert!(refused(text).contains("string"), "{text}");
    }
    for text in [r##"up{a="é\n"}"##, r##"up{a="\\é"}"##, r##"up{a=`\é`}"##] {
        assert!(admit(text).is_ok(), "{text}");
    }
}

#[test]
fn regular_expressions_are_bounded_in_size_and_number() {
    assert!(refused(r#"{a=~"(x{1000}){1000}"}"#).contains("regular expression"));
    let many = format!("x{{{}}}", vec![r#"a=~"b""#; PATTERNS_MAX + 1].join(","));
    assert!(refused(&many).contains("limit of 64 regular"));
}
