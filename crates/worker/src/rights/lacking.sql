with recursive
-- The schemas in which this role looks, in order; those that it may not use are what is looked for here.
path(schema, at) as (
    select case (parse_ident(btrim(part), false))[1] when '$user' then current_user::text
           else (parse_ident(btrim(part), false))[1] end, at
    from unnest(string_to_array(current_setting('search_path'), ',')) with ordinality listed(part, at)
    where btrim(part) <> ''),
-- What the role names, and what it does with it.
needed(at, choice, need, schema, name) as (values /*needed*/),
-- The relation that each name stands for.
found as (
    select distinct on (d.at) d.at, d.need, c.oid, n.oid as namespace
    from needed d
    join pg_class c on c.relname = d.name and c.relkind in ('r', 'p', 'v', 'm', 'f')
    join pg_namespace n on n.oid = c.relnamespace
    left join path p on p.schema = n.nspname
    where case when d.schema is null then p.schema is not null else n.nspname = d.schema end
    order by d.at, d.choice, p.at),
-- With the leaves that are read by their blocks: a right on the root is none on them.
tree(at, need, oid) as (
    select at, need, oid from found
    union
    select t.at, t.need, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid where t.need = 'scan'),
-- Where a table that is not there yet would be made.
home(oid, name) as (
    select n.oid, n.nspname from path p join pg_namespace n on n.nspname = p.schema order by p.at limit 1),
makes as (
    select exists (select from needed d where d.need in ('write', 'own') and d.name !~ '_(landing|sweep)$'
        and not exists (select from found f where f.at = d.at)) as tables),
missing(kind, schema, name, privileges, at) as (
    select 'schema', n.nspname::text, null, string_agg(upper(s.privilege), ', ' order by s.privilege desc), min(s.at)
    from (select w.namespace, w.privilege, min(w.at) from (
            select namespace, 'usage', at from found
            union all
            select h.oid, k.privilege, -1 from home h, makes m, unnest(array['usage', 'create']) k(privilege)
            where m.tables) w(namespace, privilege, at)
        group by w.namespace, w.privilege) s(namespace, privilege, at)
    join pg_namespace n on n.oid = s.namespace
    where not has_schema_privilege(n.oid, s.privilege) group by n.nspname
    union all
    select 'table', n.nspname::text, c.relname::text, string_agg(upper(k.privilege), ', ' order by k.at), min(t.at)
    from tree t join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
    cross join unnest(case t.need when 'write' then array['select', 'insert', 'update', 'delete']
        else array['select'] end) with ordinality k(privilege, at)
    where t.need <> 'own' and not has_table_privilege(c.oid, k.privilege) group by n.nspname, c.relname
    union all
    select 'owner', n.nspname::text, c.relname::text, null, f.at
    from found f join pg_class c on c.oid = f.oid join pg_namespace n on n.oid = c.relnamespace
    where f.need = 'own' and not pg_has_role(c.relowner, 'usage')
    union all
    select 'row', n.nspname::text, c.relname::text, null, f.at
    from found f join pg_class c on c.oid = f.oid join pg_namespace n on n.oid = c.relnamespace
    where f.need <> 'own' and c.relkind in ('r', 'p') and row_security_active(c.oid)/*others*/)
select kind, schema, name, privileges from missing order by at, kind, schema, name
