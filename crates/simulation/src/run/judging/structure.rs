//! How a secondary's merge tables are made: columns, keys, indexes, owner, grants and views. They stay as they are.

use std::collections::BTreeSet;

use milestream_core::names;

use super::super::Failure;
use super::super::asker::{Asker, quoted};
use super::super::secondary::{Follower, SecondaryState};
use crate::forensic::Table;
use crate::plan::Keeps;

impl SecondaryState {
    /// A table's structure as text, a line each; triggers and rules are left out.
    pub(in crate::run) async fn structure(
        &self,
        follower: &Follower,
        table: &Table,
        asker: &mut Asker,
    ) -> Result<String, Failure> {
        let merge = quoted(&self.merge(follower, table));
        let question = format!(
            "with t as (select c.* from pg_class c where c.oid = to_regclass({merge})) \
             select string_agg(line, E'\\n' order by line) from ( \
             select format('column %s %s %s %s %s rights %s statistics %s', a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), \
                case when a.attnotnull then 'not null' end, pg_get_expr(d.adbin, d.adrelid), a.attacl, a.attstattarget) \
             from t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped \
             left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
             union all select format('index %s valid %s', pg_get_indexdef(x.indexrelid), x.indisvalid) from t join pg_index x on x.indrelid = t.oid \
             union all select format('constraint %s %s', k.conname, pg_get_constraintdef(k.oid)) from t join pg_constraint k on k.conrelid = t.oid \
             union all select format('table %s owner %s rights %s options %s kind %s%s comment %s', oid, relowner::regrole, relacl, \
                reloptions, relkind, relpersistence, obj_description(oid, 'pg_class')) from t \
             union all select format('view %s', r.ev_class::regclass) from t join pg_depend d on d.refobjid = t.oid \
                and d.refclassid = 'pg_class'::regclass and d.classid = 'pg_rewrite'::regclass \
                join pg_rewrite r on r.oid = d.objid and r.ev_class <> t.oid and r.ev_type = '1' group by r.ev_class \
             ) lines(line)"
        );
        Ok(asker.value(&question).await?.unwrap_or_default())
    }

    /// What is wrong about a table that the first seed left, or that was there before it.
    pub(super) async fn wrongly_made(
        &self,
        follower: &Follower,
        table: &Table,
        asker: &mut Asker,
    ) -> Result<Vec<String>, Failure> {
        let merge = self.merge(follower, table);
        let of = quoted(&merge);
        let mut key: Vec<_> = table.key().iter().map(|(name, _)| names::physical_column(name)).collect();
        let mut required: BTreeSet<_> = key.iter().cloned().collect();
        required.extend(["ds_surf_all_hash", "ds_surf_key_hash"].map(str::to_owned));
        match self.plan.holding {
            Keeps::LiveOnly => required.extend(["ds_surf_batch_id".to_owned()]),
            Keeps::Mirror => {
                key.push("ds_surf_batch_in".to_owned());
                required.extend(["ds_surf_batch_in", "ds_surf_batch_out"].map(str::to_owned));
            }
        }
        let found: Vec<_> = asker.texts(&format!(
            "select a.attname from pg_index x, unnest(x.indkey::int2[]) with ordinality p(attnum, at), pg_attribute a \
             where x.indrelid = to_regclass({of}) and x.indisprimary and x.indisvalid and a.attrelid = x.indrelid \
             and a.attnum = p.attnum order by p.at"
        )).await?;
        let mut wrong = Vec::new();
        if found != key {
            wrong.push(format!("the primary key of {merge} is {found:?}, not {key:?}"));
        }
        let columns = |which: &str| {
            format!(
                "select attname from pg_attribute where attrelid = to_regclass({of}) and attnum > 0 and not attisdropped and {which}"
            )
        };
        let found: BTreeSet<_> = asker.texts(&columns("attnotnull")).await?.into_iter().collect();
        if found != required {
            wrong.push(format!("{merge} refuses NULL in {found:?}, not in {required:?}"));
        }
        let found = asker.texts(&columns("atthasdef and attname like 'ds_surf%'")).await?;
        if !found.is_empty() {
            wrong.push(format!("{merge} has defaults for {found:?}"));
        }
        Ok(wrong)
    }
}
