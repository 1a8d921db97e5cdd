use tokio_postgres::types::{ToSql, Type};

/// The values of a call.
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The same of a call that goes on without who began it.
pub(crate) type OwnValues = Vec<Box<dyn ToSql + Sync + Send>>;

/// A call of one of the functions in the database.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) types: &'static [Type],
}

/// The calls, for the schema in which the functions are.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) acquire: Statement,
    pub(crate) acquire_many: Statement,
    pub(crate) release_one: Statement,
    pub(crate) release: Statement,
    pub(crate) extend: Statement,
    pub(crate) rename: Statement,
    pub(crate) withdraw: Statement,
    pub(crate) list: Statement,
    pub(crate) inspect: Statement,
    pub(crate) newest: Statement,
    pub(crate) release_all: Statement,
    pub(crate) sweep: Statement,
    pub(crate) join: Statement,
    pub(crate) leave: Statement,
    pub(crate) is_gone: Statement,
    /// The name of the function of a heartbeat, which is called without preparing.
    pub(crate) beat: String,
    /// Calls what is called most, and leaves nothing.
    pub(crate) rehearsal: String,
}

impl Statements {
    pub(crate) fn new(schema: &str) -> Self {
        let call = |function: &str, types: &'static [Type]| {
            let places: Vec<_> = (1..=types.len()).map(|at| format!("${at}")).collect();
            let places = places.join(", ");
            Statement { text: format!("SELECT * FROM \"{schema}\".{function}({places})"), types }
        };
        // What answers one value isn't asked as a table: that would be written down first, and then read.
        let value = |function: &str, types: &'static [Type]| {
            let Statement { text, types } = call(function, types);
            Statement { text: text.replacen("* FROM ", "", 1), types }
        };
        Self {
            acquire: call("locking_acquire", ACQUIRE),
            acquire_many: call("locking_acquire_many", ACQUIRE_MANY),
            release_one: value("locking_release_one", RELEASE_ONE),
            release: value("locking_release", RELEASE),
            extend: value("locking_extend", EXTEND),
            rename: value("locking_rename", RENAME),
            withdraw: value("locking_withdraw", WITHDRAW),
            list: call("locking_list", &[Type::TEXT, Type::INT4]),
            inspect: call("locking_inspect", &[Type::TEXT]),
            newest: call("locking_newest", &[]),
            release_all: call("locking_release_all", RELEASE_ALL),
            sweep: call("locking_sweep", &[Type::INT4, Type::INT4, Type::INT8]),
            // Also which of the server's processes has taken the number.
            join: {
                let Statement { text, types } = value("locking_join", &[Type::INT8, Type::INT4]);
                Statement { text: format!("{text}, pg_backend_pid()"), types }
            },
            leave: value("locking_leave", &[Type::INT4]),
            is_gone: value("locking_is_gone", &[Type::INT4]),
            beat: format!("\"{schema}\".locking_beat"),
            rehearsal: include_str!("rehearsal.sql")
                .replace("locking_", &format!("\"{schema}\".locking_")),
        }
    }

    /// Those that can't wait for being prepared.
    pub(crate) fn frequent(&self) -> [&Statement; 7] {
        [
            &self.acquire,
            &self.acquire_many,
            &self.release_one,
            &self.release,
            &self.extend,
            &self.withdraw,
            &self.rename,
        ]
    }
}

const ACQUIRE: &[Type] = &[
    Type::INT4,
    Type::INT4,
    Type::INT4,
    Type::BOOL,
    Type::TEXT,
    Type::BOOL,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT8,
    Type::TEXT_ARRAY,
];
const ACQUIRE_MANY: &[Type] = &[
    Type::INT4,
    Type::INT4,
    Type::INT4,
    Type::BOOL,
    Type::TEXT_ARRAY,
    Type::BOOL_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
];
const RELEASE_ONE: &[Type] =
    &[Type::INT4, Type::INT4, Type::BOOL, Type::TEXT, Type::TEXT, Type::INT8, Type::TEXT];
const RELEASE: &[Type] = &[
    Type::INT4,
    Type::INT4,
    Type::BOOL,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
];
const EXTEND: &[Type] = &[
    Type::INT4,
    Type::INT4,
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
];
const RENAME: &[Type] = &[Type::INT4, Type::INT4, Type::TEXT, Type::TEXT, Type::INT8, Type::TEXT];
const WITHDRAW: &[Type] = &[Type::INT4, Type::INT4, Type::BOOL, Type::TEXT, Type::TEXT_ARRAY];
const RELEASE_ALL: &[Type] =
    &[Type::INT4, Type::INT4, Type::INT8, Type::TEXT, Type::BOOL, Type::TEXT, Type::INT4];
