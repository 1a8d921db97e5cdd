use serde_json::Value;

use super::error::ConfigurationError;

/// Fills `${NAME}` and `${NAME:-default}` in every text below `value` with what `variable` answers.
/// `$${` stands for the characters `${`. Answers the texts that no message may quote: any
/// of them can be a secret.
pub(super) fn fill(
    value: &mut Value,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ConfigurationError> {
    let mut secrets = Vec::new();
    walk(value, "", &mut |text, path| {
        if text.contains("${") {
            *text = filled(text, path, variable)?;
        }
        // Shorter texts are no secrets, and stand in other words too.
        if text.len() > 2 {
            secrets.push(text.clone());
        }
        Ok(())
    })?;
    Ok(secrets)
}

type Visit<'a> = &'a mut dyn FnMut(&mut String, &str) -> Result<(), ConfigurationError>;

/// Visits every text below `value` with its path.
fn walk(value: &mut Value, path: &str, visit: Visit<'_>) -> Result<(), ConfigurationError> {
    match value {
        Value::String(text) => visit(text, path),
        Value::Array(items) => {
            let mut items = items.iter_mut().enumerate();
            items.try_for_each(|(at, item)| walk(item, &format!("{path}[{at}]"), visit))
        }
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            let mut fields = fields.iter_mut();
            fields.try_for_each(|(name, field)| walk(field, &format!("{path}{dot}{name}"), visit))
        }
        _ => Ok(()),
    }
}

fn filled(
    text: &str,
    path: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ConfigurationError> {
    let malformed = || ConfigurationError::MalformedReference { path: path.to_owned() };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let reference = &rest[at + 2..];
        let end = reference.find('}').ok_or_else(malformed)?;
        let (name, default) = match reference[..end].split_once(":-") {
            // A reference in a default isn't filled in: it would end at the wrong brace.
            Some((_, default)) if default.contains("${") => return Err(malformed()),
            Some((name, default)) => (name, Some(default)),
            None => (&reference[..end], None),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(malformed());
        }
        // As in a shell, `:-` stands in for a variable that is empty too.
        let given = variable(name).filter(|text| default.is_none() || !text.is_empty());
        match given.as_deref().or(default) {
            Some(text) => out.push_str(text),
            None => {
                return Err(ConfigurationError::MissingVariable {
                    path: path.to_owned(),
                    variable: name.to_owned(),
                });
            }
        }
        rest = &reference[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, ConfigurationError> {
        filled(text, "tls.ca", &|name| match name {
            "URL" => Some("redis://:secret@host".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn references_are_filled_wherever_they_stand() {
        assert_eq!(with("${URL}"), Ok("redis://:secret@host".to_owned()));
        assert_eq!(with("a${EMPTY}b${URL}/0"), Ok("abredis://:secret@host/0".to_owned()));
        assert_eq!(with("no reference: $URL $ {}"), Ok("no reference: $URL $ {}".to_owned()));
    }

    #[test]
    fn a_default_stands_in_for_a_variable_that_is_missing_or_empty() {
        assert_eq!(with("${NONE:-5s}${EMPTY:-x}${NONE:-}"), Ok("5sx".to_owned()));
    }

    #[test]
    fn two_dollars_stand_for_the_characters_themselves() {
        assert_eq!(with("$${URL}"), Ok("${URL}".to_owned()));
    }

    #[test]
    fn a_missing_variable_is_named_with_the_option() {
        let error = with("${LOCKING_REDIS_URL}").expect_err("not set").to_string();
        assert!(error.contains("`LOCKING_REDIS_URL`"), "{error}");
        assert!(error.contains("`tls.ca`"), "{error}");
    }

    #[test]
    fn a_malformed_reference_says_what_to_write() {
        for text in ["${URL", "${}", "${a b}", "${NONE:-${URL}}"] {
            let error = with(text).expect_err("malformed").to_string();
            assert!(error.contains("write `${NAME}`"), "{error}");
        }
    }

    #[test]
    fn nested_values_are_filled_and_named_by_their_path() {
        let mut value = serde_json::json!({ "tls": { "files": ["${URL}", "${NONE}"] } });
        let error = fill(&mut value, &|_| None).expect_err("not set").to_string();
        assert!(error.contains("`tls.files[0]`"), "{error}");
    }
}
