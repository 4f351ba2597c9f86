//! Users and passwords: environment first, then files of a secrets directory; never printed.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};

/// A secret longer than this is a file that was named by mistake.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A role and its password.
#[derive(Clone)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password; empty where the server asks for none.
    pub password: SecretString,
}

impl Login {
    /// Whether role and password are those of another.
    pub(crate) fn is_same(&self, other: &Login) -> bool {
        self.user == other.user && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?})", self.user)
    }
}

/// Where credentials are looked for.
pub struct Secrets<'a> {
    /// Looks a variable of the environment up.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The secrets directory, where there is one.
    pub directory: Option<PathBuf>,
}

/// One half of a credential.
struct Half {
    /// Ending of the variable, and of a file named like it.
    ending: &'static str,
    /// Name of the file in the credential's own directory.
    file: &'static str,
}

const USER: Half = Half { ending: "USER", file: "user" };
const PASSWORD: Half = Half { ending: "PASSWORD", file: "password" };

impl Secrets<'_> {
    /// The login that a credential of type USER_PASSWORD stands for.
    ///
    /// Each half comes from the first of: the variable `{name}_USER` (`{name}_PASSWORD`), the file
    /// `{secrets_dir}/{name}/user` (`password`), the file `{secrets_dir}/{name}_USER` (`{name}_PASSWORD`). One line
    /// end at the end of a file is dropped. A password may be empty, a user may not.
    ///
    /// # Errors
    /// `Setup` naming the credential, the variables and the files, never a value.
    pub fn login(&self, credential: &str) -> Result<Login> {
        let user = self.half(credential, &USER)?.filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| self.missing(credential, &USER))?;
        let password =
            self.half(credential, &PASSWORD)?.ok_or_else(|| self.missing(credential, &PASSWORD))?;
        for (half, value) in [(&USER, &user), (&PASSWORD, &password)] {
            require_plain(credential, half, value)?;
        }
        Ok(Login { user, password: password.into() })
    }

    /// The role alone that a credential stands for; `None` where it is not at hand.
    pub(crate) fn user(&self, credential: &str) -> Result<Option<String>> {
        Ok(self.half(credential, &USER)?.filter(|user| !user.is_empty()))
    }

    /// The variable of the environment that names a credential's role.
    pub(crate) fn user_variable(credential: &str) -> String {
        format!("{credential}_{}", USER.ending)
    }

    /// What is wrong with a credential that can be had here; `None` also for one that cannot.
    pub(crate) fn fault(&self, credential: &str) -> Option<Error> {
        let halves = [&USER, &PASSWORD].map(|half| match self.half(credential, half) {
            Ok(Some(value)) => require_plain(credential, half, &value),
            Ok(None) => Ok(()),
            Err(unreadable) => Err(unreadable),
        });
        halves.into_iter().find_map(Result::err)
    }

    fn half(&self, credential: &str, half: &Half) -> Result<Option<String>> {
        if let Some(value) = (self.variable)(&format!("{credential}_{}", half.ending)) {
            return Ok(Some(value));
        }
        for file in self.files(credential, half) {
            if let Some(text) = read(&file)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A credential whose name is no plain file name is looked for in the environment only.
    fn files(&self, credential: &str, half: &Half) -> Vec<PathBuf> {
        let plain = !credential.contains(['/', '\\']) && !credential.starts_with('.');
        let Some(directory) = self.directory.as_ref().filter(|_| plain) else { return Vec::new() };
        vec![
            directory.join(credential).join(half.file),
            directory.join(format!("{credential}_{}", half.ending)),
        ]
    }

    fn missing(&self, credential: &str, half: &Half) -> Error {
        let what = format!(
            "credential {credential:?} has no {}: the variable {credential}_{} is not set{}",
            half.file,
            half.ending,
            match &self.directory {
                Some(directory) => format!(", and there is no file for it in {}", directory.display()),
                None => String::new(),
            }
        );
        let files = self.files(credential, half);
        let files: String = files.iter().map(|file| format!(", or write it to {}", file.display())).collect();
        let remedy = format!(
            "set {credential}_{} and {credential}_{}{files}{}",
            USER.ending,
            PASSWORD.ending,
            if self.directory.is_none() { ", or name a directory of secrets with `secrets_dir`" } else { "" }
        );
        Error::setup(what, remedy)
    }
}

/// Line ends and their like come from a file or variable that was written with one too many; no login can have them.
fn require_plain(credential: &str, half: &Half, value: &str) -> Result<()> {
    let Some(at) = value.chars().position(char::is_control) else { return Ok(()) };
    let what = match value.chars().nth(at) {
        Some('\n' | '\r') if value.trim_end_matches(['\n', '\r']).chars().count() == at => {
            "ends with a line end"
        }
        Some('\n' | '\r') => "has a line end in it",
        _ => "has a control character in it",
    };
    Err(Error::setup(
        format!("the {} of credential {credential:?} {what}", half.file),
        format!(
            "write {credential}_{} (or its file in the secrets directory) again without it: `printf %s` writes no line end",
            half.ending
        ),
    ))
}

/// The file's text without the line end at its end; `None` when there is no such file.
fn read(file: &Path) -> Result<Option<String>> {
    let unreadable = |error: &dyn fmt::Display| {
        Error::setup(
            format!("the secret in {} cannot be read: {error}", file.display()),
            "make it a small text file that this user may read",
        )
    };
    let size = match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(unreadable(&"it is no file")),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(&error)),
    };
    if size > SECRET_BYTES_MAX {
        return Err(unreadable(&format!("it has {size} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "hub_USER" => Some("reader".into()),
            "hub_PASSWORD" => Some("hunter2".into()),
            "half_USER" => Some("reader".into()),
            _ => None,
        }
    }

    fn message(error: &Error) -> String {
        format!("{error}\n{}", error.advice())
    }

    #[test]
    fn a_credential_comes_from_the_environment() {
        let secrets = Secrets { variable: &variables, directory: None };
        let login = secrets.login("hub").unwrap();
        assert_eq!((login.user.as_str(), login.password.expose_secret()), ("reader", "hunter2"));
    }

    #[test]
    fn a_credential_comes_from_files_of_either_layout() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("edge")).unwrap();
        std::fs::write(directory.path().join("edge/user"), "writer\n").unwrap();
        std::fs::write(directory.path().join("edge_PASSWORD"), "two\r\n").unwrap();
        std::fs::write(directory.path().join("half_PASSWORD"), "from a file").unwrap();
        let secrets = Secrets { variable: &variables, directory: Some(directory.path().to_owned()) };
        let login = secrets.login("edge").unwrap();
        assert_eq!((login.user.as_str(), login.password.expose_secret()), ("writer", "two"));
        assert_eq!(secrets.login("half").unwrap().password.expose_secret(), "from a file");
    }

    #[test]
    fn a_missing_half_is_named_and_no_value_is_shown() {
        let secrets = Secrets { variable: &variables, directory: None };
        insta::assert_snapshot!(message(&secrets.login("half").unwrap_err()), @r#"
        credential "half" has no password: the variable half_PASSWORD is not set
        set half_USER and half_PASSWORD, or name a directory of secrets with `secrets_dir`
        "#);
        let secrets = Secrets { variable: &variables, directory: Some("/run/secrets".into()) };
        insta::assert_snapshot!(message(&secrets.login("nobody").unwrap_err()), @r#"
        credential "nobody" has no user: the variable nobody_USER is not set, and there is no file for it in /run/secrets
        set nobody_USER and nobody_PASSWORD, or write it to /run/secrets/nobody/user, or write it to /run/secrets/nobody_USER
        "#);
    }

    #[test]
    fn a_credential_never_leaves_the_secrets_directory() {
        let secrets = Secrets { variable: &|_| None, directory: Some("/run/secrets".into()) };
        assert!(secrets.files("../etc/passwd", &USER).is_empty());
        assert!(secrets.files("..", &USER).is_empty());
    }

    #[test]
    fn a_line_end_too_many_is_told_and_no_value_is_shown() {
        let variable = |name: &str| Some(if name == "hub_USER" { "reader" } else { "hunter2\n" }.to_owned());
        let secrets = Secrets { variable: &variable, directory: None };
        insta::assert_snapshot!(message(&secrets.login("hub").unwrap_err()), @r#"
        the password of credential "hub" ends with a line end
        write hub_PASSWORD (or its file in the secrets directory) again without it: `printf %s` writes no line end
        "#);
        assert_eq!(secrets.login("hub").unwrap_err().exit_code(), 2);
        assert!(secrets.fault("hub").is_some());
        assert!(Secrets { variable: &|_| None, directory: None }.fault("hub").is_none());
    }

    #[test]
    fn debug_output_hides_the_password() {
        let secrets = Secrets { variable: &variables, directory: None };
        let shown = format!("{:?}", secrets.login("hub").unwrap());
        assert!(shown.contains("reader") && !shown.contains("hunter2"), "{shown}");
    }
}
