//! Commands about who may do what. No secret is ever a word of a command line.

use clap::{Args, Subcommand};
use signalbox_proto::api::Role;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::Millis;
use std::path::PathBuf;

/// `signalbox login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The collector: https://HOST:8440
    pub url: String,
    /// User; asked if not given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Read an API token from standard input instead of asking for a password
    #[arg(long, conflicts_with_all = ["name", "password_stdin"])]
    pub token_stdin: bool,
    /// Read the password from standard input instead of asking for it
    #[arg(long, requires = "name")]
    pub password_stdin: bool,
    /// Certificates that may vouch for the collector, PEM, as `signalbox ca show` prints
    /// them on its host; else those of this system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// `signalbox join-token …`.
#[derive(Debug, Subcommand)]
pub enum JoinTokenAct {
    /// Make one, and print it with the command to run on the other host
    Create {
        /// How long it may be used
        #[arg(long, default_value = "1h", value_name = "SPAN", value_parser = parse_span)]
        ttl: Millis,
        /// How many agents may join with it
        #[arg(long, default_value_t = 1, value_name = "N")]
        uses: u32,
        /// A label that these agents may declare; may be repeated
        #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
        labels: Vec<(String, String)>,
        /// Only from this network (192.0.2.0/24); may be repeated
        #[arg(long = "cidr", value_name = "NET")]
        cidrs: Vec<String>,
        /// Only for this agent id
        #[arg(long, value_name = "HOST")]
        agent: Option<String>,
    },
    /// Those that were made, without their secrets
    List,
    /// Let nobody join with it any more
    Revoke {
        /// Its id
        id: String,
    },
}

/// `signalbox users …`.
#[derive(Debug, Subcommand)]
pub enum UsersAct {
    /// All users
    List,
    /// A new user; `login-link` then lets them in
    Add {
        /// Name: 1 to 64 of A-Z a-z 0-9 . _ -
        name: String,
        /// viewer, operator, change_manager or admin
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// Only objects of these labels ({owner="payments"}); may be repeated
        #[arg(long = "scope", value_name = "SELECTOR")]
        scope: Vec<String>,
    },
    /// End all sessions and tokens of a user, and let them in no more
    Disable {
        /// Name
        name: String,
    },
    /// Let a disabled user in again
    Enable {
        /// Name
        name: String,
    },
    /// Give a user another role or scope; their sessions end
    Role {
        /// Name
        name: String,
        /// viewer, operator, change_manager or admin
        role: Role,
        /// Only objects of these labels; may be repeated
        #[arg(long = "scope", value_name = "SELECTOR", conflicts_with = "all")]
        scope: Vec<String>,
        /// All objects
        #[arg(long)]
        all: bool,
    },
    /// Set a password: one's own, or as an admin another user's
    Passwd {
        /// Name; one's own if not given
        name: Option<String>,
        /// Read the new password from standard input (for one's own: the old one on the line before)
        #[arg(long)]
        stdin: bool,
    },
}

/// `signalbox tokens …`.
#[derive(Debug, Subcommand)]
pub enum TokensAct {
    /// Make an API token for a service, and print it once
    Create {
        /// What it is for
        name: String,
        /// viewer, operator, change_manager or admin; or --permission
        #[arg(long, value_name = "ROLE", required_unless_present = "permissions")]
        role: Option<Role>,
        /// One permission (read_metrics); may be repeated
        #[arg(long = "permission", id = "permissions", value_name = "NAME", conflicts_with = "role")]
        permissions: Vec<String>,
        /// Only objects of these labels; may be repeated
        #[arg(long = "scope", value_name = "SELECTOR")]
        scope: Vec<String>,
        /// How long it may be used, at most a year
        #[arg(long, default_value = "90d", value_name = "SPAN", value_parser = parse_span)]
        ttl: Millis,
    },
    /// Those that were made, without their secrets
    List,
    /// Refuse it from now on
    Revoke {
        /// Its id
        id: String,
    },
}

/// `signalbox audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditAct {
    /// The last lines, oldest first
    List {
        /// How many
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// From this line on
        #[arg(long, value_name = "NO")]
        from: Option<u64>,
    },
    /// Whether every line is there, in order and as it was written
    Verify,
    /// Every line as JSON, one a line
    Export,
}

/// `signalbox ca …`.
#[derive(Debug, Subcommand)]
pub enum CaAct {
    /// Its certificates, PEM on standard output
    Show,
    /// Begin with a new root; the old one is trusted for 90 days, or until `ca drop`
    Rotate,
    /// Trust the old root of a rotation no more; agents that have not renewed since must join anew
    Drop,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() || value.is_empty() {
        return Err("write NAME=VALUE, both not empty".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_name_and_value() {
        assert_eq!(parse_label("site=a=b"), Ok(("site".to_owned(), "a=b".to_owned())));
        for bad in ["site", "=a", "site="] {
            assert!(parse_label(bad).is_err(), "{bad}");
        }
    }
}
