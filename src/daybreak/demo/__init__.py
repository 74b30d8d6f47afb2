"""The whole path on real servers that are thrown away: `python -m daybreak.demo`.

stage.py    two PostgreSQL servers, an S3 server, their content and a daybreak.toml, below one folder
story.py    what is done there, through the same `Site` as the command line, and what came of it
client.py   an application on the development database that connects again and again, and times its absence
teller.py   what a person sees meanwhile
ending.py   the table at the end, and how to go on
"""
