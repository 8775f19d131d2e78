//! Which paths a Rust file names, read from its tokens: comments and strings don't count, and test code
//! doesn't either.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path as a file names it: `use a::{b, c::d}` is `a::b` and `a::c::d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Vec<String>,
    pub line: usize,
}

/// What a file names outside of its tests.
#[derive(Clone, Debug, Default)]
pub struct Imports {
    pub named: Vec<Named>,
    /// The modules that are for tests alone and lie in files of their own.
    pub test_modules: Vec<String>,
}

impl Imports {
    /// Reads a file.
    ///
    /// # Panics
    /// When it is no Rust.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("this is no Rust: {error}"));
        let mut imports = Self::default();
        imports.read(tokens, &[]);
        imports
    }

    /// Reads one level of brackets; in a `use` group `prefix` is what stands before the group.
    fn read(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.get(at)
                        && is_for_tests(attribute)
                    {
                        at = self.skip_item(&tokens, at + 1);
                    }
                }
                // The name after it is the file's own.
                TokenTree::Ident(ident) if ident == "as" => at += 1,
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let mut path = prefix.to_vec();
                    if ident != "self" || prefix.is_empty() {
                        path.push(ident.to_string());
                    }
                    let imported = at >= 2 && is_use(tokens.get(at - 2));
                    let continues = is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1));
                    // A name alone is a variable, unless it is imported.
                    if continues || imported || !prefix.is_empty() {
                        at = self.read_path(&tokens, at, path, line);
                    }
                }
                TokenTree::Group(group) => self.read(group.stream(), &[]),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Reads the rest of a path whose first name has been read; the place after it.
    fn read_path(
        &mut self,
        tokens: &[TokenTree],
        mut at: usize,
        mut path: Vec<String>,
        line: usize,
    ) -> usize {
        while is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1)) {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.read(group.stream(), &path);
                    return at + 3;
                }
                Some(TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) | None => break,
            }
            at += 3;
        }
        self.named.push(Named { path, line });
        at
    }

    /// Steps over an item that is for tests alone; the place after it.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        let mut module = None;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(ident) if ident == "mod" => {
                    module = tokens.get(at).map(ToString::to_string);
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return at,
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    self.test_modules.extend(module);
                    return at;
                }
                TokenTree::Ident(_) | TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        at
    }
}

fn is_for_tests(attribute: &Group) -> bool {
    let mut tokens = attribute.stream().into_iter();
    let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(condition))) = (tokens.next(), tokens.next())
    else {
        return false;
    };
    name == "cfg" && condition.stream().to_string() == "test"
}

fn is_use(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == "use" || ident == "crate")
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        Imports::of(text)
            .named
            .iter()
            .map(|named| named.path.join("::"))
            .collect()
    }

    #[test]
    fn groups_are_spread_out() {
        let found = paths("use a::{self, b as x, c::{d, e}};");
        for path in ["a", "a::b", "a::c::d", "a::c::e"] {
            assert!(found.iter().any(|found| found == path), "{path}: {found:?}");
        }
        assert!(!found.iter().any(|found| found.contains('x')), "{found:?}");
    }

    #[test]
    fn paths_in_code_and_in_macros_count() {
        let found = paths("fn f() -> a::B { m!(c::d(1)); Vec::<e::F>::new() }");
        for path in ["a::B", "c::d", "e::F"] {
            assert!(found.iter().any(|found| found == path), "{path}: {found:?}");
        }
    }

    #[test]
    fn a_name_alone_counts_only_when_it_is_imported() {
        assert_eq!(
            paths("use a; use b as c; extern crate d; fn f(e: u8) -> u8 { e }"),
            ["a", "b", "d"]
        );
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "// a::b\n/* a::b */\n/// a::b\nconst S: &str = \"a::b\";\n\
                    #[cfg(test)]\nmod tests { use a::b; }\n#[cfg(test)]\n#[path = \"x\"]\nmod apart;\nfn f() { c::d() }";
        let imports = Imports::of(text);
        assert!(
            imports.named.iter().all(|named| named.path != ["a", "b"]),
            "{imports:?}"
        );
        assert_eq!(imports.test_modules, ["apart"]);
        assert_eq!(imports.named.last().map(|named| named.line), Some(10));
    }
}
