//! Words of queries: which of them the corpus must have used, and what becomes of a
//! query when one is lost, doubled or misplaced.

use e2e::random::Random;
use std::collections::BTreeSet;

/// Every function, operator, aggregation and modifier of Prometheus 2.42 that is not
/// about native histograms.
pub(crate) const KNOWN: &str = "
    abs absent absent_over_time acos acosh and asin asinh atan atan2 atanh avg avg_over_time bool bottomk by ceil
    changes clamp clamp_max clamp_min cos cosh count count_over_time count_values day_of_month day_of_week day_of_year
    days_in_month deg delta deriv double_exponential_smoothing end exp floor group group_left group_right
    histogram_quantile hour idelta ignoring increase irate label_join label_replace last_over_time ln log10 log2 max
    max_over_time min min_over_time minute month offset on or pi predict_linear present_over_time quantile
    quantile_over_time rad rate resets round scalar sgn sin sinh sort sort_desc sqrt start stddev stddev_over_time
    stdvar stdvar_over_time sum sum_over_time tan tanh time timestamp topk unless vector without year
    + - * / % ^ == != > < >= <= =~ !~ @ [ ( { :";

/// Words, strings and signs; spaces are left out.
pub(crate) fn split(query: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if first == '"' {
            rest[1..].find('"').map_or(rest.len(), |end| end + 2)
        } else if ["==", "!=", "=~", "!~", ">=", "<="].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else {
            first.len_utf8()
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

/// The known words that none of these queries has.
pub(crate) fn unused<'q>(queries: impl IntoIterator<Item = &'q String>) -> Vec<&'static str> {
    let used: BTreeSet<&str> = queries.into_iter().flat_map(|query| split(query)).collect();
    KNOWN.split_whitespace().filter(|word| !used.contains(word)).collect()
}

/// The query with a word lost, doubled, moved or taken for another.
pub(crate) fn spoilt(query: &str, random: &mut Random) -> String {
    let mut words = split(query);
    let at = random.below(words.len() as u64) as usize;
    let others = [
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        "by",
        "on",
        "bool",
        "offset",
        "@",
        "-",
        "and",
        "sum",
        "rate",
        "walk",
        "1",
        "\"text\"",
        "==",
        "=~",
        "5m",
        "group_left",
        "without",
        "time",
        ":",
        "Inf",
        "start",
        "ignoring",
        "^",
        "!",
    ];
    let next = (at + 1).min(words.len() - 1);
    match random.below(4) {
        0 => {
            words.remove(at);
        }
        1 => words.insert(at, words[at]),
        2 => words.swap(at, next),
        _ => words[at] = others[random.below(others.len() as u64) as usize],
    }
    words.join(" ")
}
