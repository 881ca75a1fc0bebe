//! Who acts: the name that goes into the audit.
//!
//! Until operators have identities this is a word of honour; the collector
//! listens on loopback only.

use thiserror::Error;

/// Longest name that is sent, characters.
const AUTHOR_LIMIT_CHARS: usize = 128;

/// Why nobody acts.
#[derive(Debug, Error)]
pub(crate) enum AuthorError {
    /// No name was found.
    #[error("cannot tell who acts: user id {uid} has no name; say --author NAME")]
    Nobody {
        /// Of this process.
        uid: u32,
    },
    /// A name that would garble the audit.
    #[error("author {name:?} must be 1 to {AUTHOR_LIMIT_CHARS} printable characters")]
    Name {
        /// As given.
        name: String,
    },
}

/// `--author`, else `$SUDO_USER`, `$USER`, else the account of this process.
pub(crate) fn author(flag: Option<&str>) -> Result<String, AuthorError> {
    let uid = rustix::process::getuid().as_raw();
    let variable = |name: &str| std::env::var(name).ok();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    pick(flag, variable("SUDO_USER"), variable("USER"), uid, &accounts)
}

fn pick(
    flag: Option<&str>,
    sudo_user: Option<String>,
    user: Option<String>,
    uid: u32,
    accounts: &str,
) -> Result<String, AuthorError> {
    let given = |name: Option<String>| name.filter(|name| !name.trim().is_empty());
    let name = match flag {
        Some(name) => name.trim().to_owned(),
        None => given(sudo_user)
            .or_else(|| given(user))
            .or_else(|| account_name(uid, accounts))
            .ok_or(AuthorError::Nobody { uid })?,
    };
    let n_chars = name.chars().count();
    if n_chars == 0 || n_chars > AUTHOR_LIMIT_CHARS || name.contains(char::is_control) {
        return Err(AuthorError::Name { name });
    }
    Ok(name)
}

/// From lines of `name:password:uid:…`.
fn account_name(uid: u32, accounts: &str) -> Option<String> {
    let uid = uid.to_string();
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh\nop:x:1000:1000::/home/op:/bin/sh\n";

    #[test]
    fn the_flag_wins_then_sudo_then_user_then_the_account() {
        let own = |name: &str| Some(name.to_owned());
        assert_eq!(pick(Some("eve"), own("adam"), own("root"), 0, ACCOUNTS).unwrap(), "eve");
        assert_eq!(pick(None, own("adam"), own("root"), 0, ACCOUNTS).unwrap(), "adam");
        assert_eq!(pick(None, own(" "), own("root"), 0, ACCOUNTS).unwrap(), "root");
        assert_eq!(pick(None, None, None, 1000, ACCOUNTS).unwrap(), "op");
    }

    #[test]
    fn a_missing_or_garbled_name_is_refused() {
        let error = pick(None, None, None, 4242, ACCOUNTS).unwrap_err().to_string();
        assert_eq!(error, "cannot tell who acts: user id 4242 has no name; say --author NAME");
        assert!(pick(Some(""), None, None, 0, ACCOUNTS).is_err());
        assert!(pick(Some("a\nb"), None, None, 0, ACCOUNTS).is_err());
    }
}
