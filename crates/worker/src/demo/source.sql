-- The demo's source database: plain tables that know nothing of Milestream.
create table airlines (
    carrier varchar(2) primary key,
    name varchar(100) not null
);

create table airports (
    faa varchar(3) primary key,
    name varchar(100) not null,
    lat numeric(18, 15) not null,
    lon numeric(18, 15) not null,
    alt smallint not null,
    tz smallint not null,
    dst varchar(1) not null,
    tzone varchar(40)
);

create table planes (
    tailnum varchar(6) primary key,
    year smallint,
    type varchar(40) not null,
    manufacturer varchar(40) not null,
    model varchar(40) not null,
    engines smallint not null,
    seats smallint not null,
    speed smallint,
    engine varchar(40) not null
);

-- Neither tail numbers nor airports are foreign keys: the published data has flights of planes and to airports that
-- its other tables do not list.
create table flights (
    year smallint not null,
    month smallint not null,
    day smallint not null,
    dep_time smallint,
    sched_dep_time smallint not null,
    dep_delay smallint,
    arr_time smallint,
    sched_arr_time smallint not null,
    arr_delay smallint,
    carrier varchar(2) not null,
    flight integer not null,
    tailnum varchar(6),
    origin varchar(3) not null,
    dest varchar(3) not null,
    air_time smallint,
    distance integer not null,
    hour smallint not null,
    minute smallint not null,
    -- In UTC.
    time_hour timestamp not null,
    primary key (year, month, day, carrier, flight, origin)
);
