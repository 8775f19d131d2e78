//! How text is cut for the search index, and what a person's query asks of it.
//!
//! Chinese, Japanese and Korean are written without spaces, so SQLite's tokenizers make one word of a whole
//! sentence. A run of such characters is cut here into its pairs and then its single characters; everything
//! else is left to `unicode61`.
//!
//! ```text
//!   text   See you at 明天开会吗   ──▶ See you at  明天 天开 开会 会吗 明 天 开 会 吗
//!   query  天开会 you se          ──▶ "天开 开会" "you" "se" *
//! ```
//! The single characters stand between the pairs of one run and those of the next, so that a phrase of
//! pairs is only found inside one run.

/// More of a query than this is not looked at. SQLite bounds the size of an expression too.
pub(super) const MAX_QUERY: usize = 256;

/// A stretch of text.
enum Piece<'a> {
    /// Han, kana or Hangul.
    Run(&'a str),
    Other(&'a str),
}

/// What is put into the index for a text; empty if nothing in it can be found.
pub(super) fn index_text(text: &str) -> String {
    let mut tokens = String::with_capacity(text.len().saturating_mul(3));
    for piece in pieces(text) {
        match piece {
            Piece::Run(run) => {
                for token in pairs(run).chain(characters(run)) {
                    tokens.push(' ');
                    tokens.push_str(token);
                }
                tokens.push(' ');
            }
            Piece::Other(other) => tokens.push_str(other),
        }
    }
    if tokens.contains(char::is_alphanumeric) {
        tokens
    } else {
        String::new()
    }
}

/// The query as an FTS5 expression in which all of the person's text is quoted; `None` if it names nothing.
/// Every part has to be found. The last word may be the beginning of one.
pub(super) fn expression(query: &str) -> Option<String> {
    let mut end = query.len().min(MAX_QUERY);
    while !query.is_char_boundary(end) {
        end -= 1;
    }
    // An expression ends at a NUL, even inside quotes.
    let query = query.get(..end).unwrap_or_default().replace('\0', " ");
    let mut phrases = Vec::new();
    let mut last_word = None;
    for piece in pieces(&query) {
        match piece {
            Piece::Run(run) => {
                let pairs: Vec<&str> = pairs(run).collect();
                let phrase = if pairs.is_empty() {
                    run.to_owned()
                } else {
                    pairs.join(" ")
                };
                phrases.push(quoted(&phrase));
            }
            Piece::Other(other) => {
                for word in other
                    .split_whitespace()
                    .filter(|word| word.contains(char::is_alphanumeric))
                {
                    last_word = Some(phrases.len());
                    phrases.push(quoted(word));
                }
            }
        }
    }
    if let Some(last) = last_word.and_then(|place| phrases.get_mut(place)) {
        last.push('*');
    }
    (!phrases.is_empty()).then(|| phrases.join(" "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Cuts a text where runs begin and end.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let in_run = is_run(rest.chars().next()?);
        let end = rest.find(|c| is_run(c) != in_run).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(if in_run {
            Piece::Run(piece)
        } else {
            Piece::Other(piece)
        })
    })
}

/// Each two characters that stand side by side.
fn pairs(run: &str) -> impl Iterator<Item = &str> {
    let starts = run.char_indices().map(|(start, _)| start);
    let ends = run
        .char_indices()
        .skip(1)
        .map(|(start, second)| start + second.len_utf8());
    starts.zip(ends).filter_map(|(start, end)| run.get(start..end))
}

fn characters(run: &str) -> impl Iterator<Item = &str> {
    run.char_indices()
        .filter_map(|(start, c)| run.get(start..start + c.len_utf8()))
}

/// The letters of Han, Hiragana, Katakana and Hangul.
fn is_run(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11ff}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}'
        | '\u{3041}'..='\u{3096}'
        | '\u{309d}'..='\u{309f}'
        | '\u{30a1}'..='\u{30fa}'
        | '\u{30fc}'..='\u{30ff}'
        | '\u{3131}'..='\u{318e}'
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{a960}'..='\u{a97c}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{d7b0}'..='\u{d7fb}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'
        | '\u{ffa0}'..='\u{ffdc}'
        | '\u{1aff0}'..='\u{1b16f}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_into_its_pairs_and_then_its_characters() {
        assert_eq!(index_text("明天开会吗"), " 明天 天开 开会 会吗 明 天 开 会 吗 ");
        assert_eq!(index_text("我"), " 我 ");
    }

    #[test]
    fn words_between_runs_stay_as_they_are() {
        assert_eq!(index_text("用iPhone打"), " 用 iPhone 打 ");
        assert_eq!(index_text("Café at 9"), "Café at 9");
    }

    #[test]
    fn what_has_no_letter_and_no_digit_is_not_indexed() {
        assert_eq!(index_text(" …! \u{1f600}"), "");
        assert_eq!(index_text(""), "");
    }

    #[test]
    fn a_query_asks_for_the_pairs_in_a_row_and_for_the_beginning_of_its_last_word() {
        assert_eq!(expression("开会").as_deref(), Some("\"开会\""));
        assert_eq!(expression("天开会").as_deref(), Some("\"天开 开会\""));
        assert_eq!(expression("会").as_deref(), Some("\"会\""));
        assert_eq!(expression("see yo").as_deref(), Some("\"see\" \"yo\"*"));
        assert_eq!(
            expression("用 iph 开会").as_deref(),
            Some("\"用\" \"iph\"* \"开会\"")
        );
    }

    #[test]
    fn operators_in_a_query_are_words() {
        assert_eq!(
            expression("a OR \"b\" -c:d*").as_deref(),
            Some("\"a\" \"OR\" \"\"\"b\"\"\" \"-c:d*\"*")
        );
        assert_eq!(expression("a\0b").as_deref(), Some("\"a\" \"b\"*"));
    }

    #[test]
    fn a_query_that_names_nothing_is_none() {
        for query in ["", " ", "!?", "\"", "*", "\0"] {
            assert_eq!(expression(query), None, "{query:?}");
        }
    }

    #[test]
    fn a_long_query_is_cut_between_characters() {
        let asked = expression(&"会".repeat(1000)).unwrap();
        assert_eq!(asked.matches("会会").count(), MAX_QUERY / "会".len() - 1);
    }
}
