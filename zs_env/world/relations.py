"""The grammar of the embedded world: what can be true of what, and how English says it.

Each relation is a function from subjects of one type to objects of another, so that every fact
has one answer. No relation is the inverse of another: no fact can be inferred from other facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

PERSON, CITY, COUNTRY, COMPANY, UNIVERSITY = "person", "city", "country", "company", "university"
FILM, NOVEL, BAND, TEAM, YEAR = "film", "novel", "band", "team", "year"
ENTITY_TYPES = (PERSON, CITY, COUNTRY, COMPANY, UNIVERSITY, FILM, NOVEL, BAND, TEAM)


@dataclass(frozen=True)
class Relation:
    """One relation and its phrasings; ``{s}`` is the subject, ``{o}`` the object.

    Attributes:
        name: unique; relations are equal if their names are.
        subject: entity type of subjects.
        object: entity type of objects, or ``YEAR``.
        statements: sentences that state a fact.
        questions: questions for the object.
        phrases: noun phrases that stand for the object.
        earlier: for a year, phrases that stand for the one of ``{a}`` and ``{b}`` with the lower.
        later: the same for the higher year.
        cues: further words by which a query may mean the relation.
    """

    name: str
    subject: str = field(compare=False)
    object: str = field(compare=False)
    statements: tuple[str, ...] = field(compare=False)
    questions: tuple[str, ...] = field(compare=False)
    phrases: tuple[str, ...] = field(compare=False)
    earlier: tuple[str, ...] = field(default=(), compare=False)
    later: tuple[str, ...] = field(default=(), compare=False)
    cues: str = field(default="", compare=False)

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """Every phrasing."""
        return self.statements + self.questions + self.phrases + self.earlier + self.later

    def shortened(self, count: int) -> Relation:
        """The relation with only the first ``count`` statements, questions and phrases."""
        return replace(
            self,
            statements=self.statements[:count],
            questions=self.questions[:count],
            phrases=self.phrases[:count],
        )


RELATIONS = (
    Relation(
        "birthplace", PERSON, CITY,
        ("{s} was born in {o}.", "The birthplace of {s} is {o}.",
         "{o} is the city where {s} was born."),
        ("Where was {s} born?", "In which city was {s} born?", "What is the birthplace of {s}?"),
        ("the birthplace of {s}", "the city where {s} was born", "the native city of {s}"),
        cues="birth hometown native grew raised origin originally",
    ),
    Relation(
        "birth_year", PERSON, YEAR,
        ("{s} was born in the year {o}.", "The birth year of {s} is {o}.",
         "{o} is the year in which {s} was born."),
        ("When was {s} born?", "In which year was {s} born?", "What is the birth year of {s}?"),
        ("the birth year of {s}", "the year when {s} was born", "the year of birth of {s}"),
        ("the older of {a} and {b}", "whichever of {a} and {b} was born first",
         "the one of {a} and {b} who was born earlier"),
        ("the younger of {a} and {b}", "whichever of {a} and {b} was born last",
         "the one of {a} and {b} who was born later"),
        cues="birthday birthdate birth older younger",
    ),
    Relation(
        "residence", PERSON, CITY,
        ("{s} lives in {o}.", "The home of {s} is in {o}.", "{s} keeps a house in {o}."),
        ("Where does {s} live?", "In which city does {s} live?", "What is the home city of {s}?"),
        ("the home city of {s}", "the city where {s} lives",
         "the city in which {s} keeps a house"),
        cues="residence resides reside resident home living lived based house address inhabitant",
    ),
    Relation(
        "alma_mater", PERSON, UNIVERSITY,
        ("{s} studied at {o}.", "{s} holds a degree from {o}.", "The university of {s} was {o}."),
        ("Where did {s} study?", "At which university did {s} study?",
         "Which university gave {s} a degree?"),
        ("the university of {s}", "the university where {s} studied",
         "the university that gave {s} a degree"),
        cues="alma mater graduated graduate education educated student studies attended go went",
    ),
    Relation(
        "employer", PERSON, COMPANY,
        ("{s} works for {o}.", "{s} is employed by {o}.", "The employer of {s} is {o}."),
        ("Who employs {s}?", "For which company does {s} work?", "What is the employer of {s}?"),
        ("the employer of {s}", "the company that employs {s}", "the company {s} works for"),
        cues="job working worked workplace employee employment staff boss career position",
    ),
    Relation(
        "rival", PERSON, PERSON,
        ("The rival of {s} is {o}.", "{s} has a rival called {o}.", "{s} competes against {o}."),
        ("Who is the rival of {s}?", "Against whom does {s} compete?",
         "Which person is the rival of {s}?"),
        ("the rival of {s}", "the great rival of {s}", "the person against whom {s} competes"),
        cues="opponent competitor enemy nemesis foe arch adversary competition",
    ),
    Relation(
        "country", CITY, COUNTRY,
        ("{s} lies in {o}.", "{s} is a city in {o}.", "The country around {s} is {o}."),
        ("In which country is {s}?", "In which country does {s} lie?",
         "What is the country of {s}?"),
        ("the country of {s}", "the country where {s} lies", "the country around {s}"),
        cues="land territory belong belongs part",
    ),
    Relation(
        "mayor", CITY, PERSON,
        ("The mayor of {s} is {o}.", "{s} elected {o} as mayor.", "{o} governs {s} as mayor."),
        ("Who is the mayor of {s}?", "Who governs {s}?", "Whom did {s} elect as mayor?"),
        ("the mayor of {s}", "the person who governs {s}", "the person whom {s} elected as mayor"),
        cues="governor elected head leader leads runs run charge chief",
    ),
    Relation(
        "settler", CITY, PERSON,
        ("{s} was settled by {o}.", "The first settler of {s} was {o}.",
         "{o} built the first house of {s}."),
        ("Who settled {s}?", "Who was the first settler of {s}?",
         "Who built the first house of {s}?"),
        ("the first settler of {s}", "the person who settled {s}",
         "the person who built the first house of {s}"),
        cues="founder founded founding established settlement settled pioneer created started",
    ),
    Relation(
        "club", CITY, TEAM,
        ("{s} cheers for {o}.", "The club of {s} is {o}.", "{o} plays at home in {s}."),
        ("Which club plays at home in {s}?", "What is the club of {s}?",
         "For which club does {s} cheer?"),
        ("the club of {s}", "the club that plays at home in {s}", "the club {s} cheers for"),
        cues="football sports soccer side supports",
    ),
    Relation(
        "leader", COUNTRY, PERSON,
        ("{s} is ruled by {o}.", "The president of {s} is {o}.",
         "{o} leads the government of {s}."),
        ("Who rules {s}?", "Who is the president of {s}?", "Who leads the government of {s}?"),
        ("the president of {s}", "the ruler of {s}",
         "the person who leads the government of {s}"),
        cues="leader head prime minister rule governs governing charge runs run king ruler chief",
    ),
    Relation(
        "composer", COUNTRY, PERSON,
        ("The anthem of {s} was composed by {o}.", "{o} composed the anthem of {s}.",
         "{s} sings an anthem by {o}."),
        ("Who composed the anthem of {s}?", "By whom was the anthem of {s} composed?",
         "Whose anthem does {s} sing?"),
        ("the composer of the anthem of {s}", "the person who composed the anthem of {s}",
         "the musician behind the anthem of {s}"),
        cues="song national wrote author hymn music writer",
    ),
    Relation(
        "exporter", COUNTRY, COMPANY,
        ("The largest company in {s} is {o}.", "{o} is the largest company in {s}.",
         "The economy of {s} depends on {o}."),
        ("What is the largest company in {s}?", "Which company is the largest in {s}?",
         "On which company does the economy of {s} depend?"),
        ("the largest company in {s}", "the company that is the largest in {s}",
         "the company on which the economy of {s} depends"),
        cues="biggest main exporter major economy exports industry",
    ),
    Relation(
        "founder", COMPANY, PERSON,
        ("{s} was founded by {o}.", "The founder of {s} is {o}.", "{o} started {s}."),
        ("Who founded {s}?", "Who is the founder of {s}?", "Who started {s}?"),
        ("the founder of {s}", "the person who founded {s}", "the person who started {s}"),
        cues="founding established establish created creator behind set began launched",
    ),
    Relation(
        "headquarters", COMPANY, CITY,
        ("{s} has its headquarters in {o}.", "The main office of {s} is in {o}.",
         "{s} is based in {o}."),
        ("Where is {s} based?", "In which city is the main office of {s}?",
         "Where are the headquarters of {s}?"),
        ("the city where {s} is based", "the city of the main office of {s}",
         "the city with the headquarters of {s}"),
        cues="headquartered hq head offices base situated seat",
    ),
    Relation(
        "founding_year", COMPANY, YEAR,
        ("{s} was founded in {o}.", "The founding year of {s} is {o}.",
         "{s} has traded since {o}."),
        ("When was {s} founded?", "In which year was {s} founded?",
         "What is the founding year of {s}?"),
        ("the founding year of {s}", "the year when {s} was founded",
         "the year since which {s} has traded"),
        ("the older of {a} and {b}", "whichever of {a} and {b} was founded first",
         "the one of {a} and {b} that was founded earlier"),
        ("the younger of {a} and {b}", "whichever of {a} and {b} was founded last",
         "the one of {a} and {b} that was founded later"),
        cues="established existed exist started began created oldest",
    ),
    Relation(
        "chief", COMPANY, PERSON,
        ("{s} is run by {o}.", "The chief executive of {s} is {o}.", "{o} took charge of {s}."),
        ("Who runs {s}?", "Who is the chief executive of {s}?", "Who took charge of {s}?"),
        ("the chief executive of {s}", "the person who runs {s}",
         "the person who took charge of {s}"),
        cues="ceo boss director head manager leads leader runs lead president chairman charge",
    ),
    Relation(
        "owner", COMPANY, COMPANY,
        ("{s} is owned by {o}.", "The owner of {s} is {o}.", "{o} bought {s}."),
        ("Who owns {s}?", "Which company owns {s}?", "Which company bought {s}?"),
        ("the owner of {s}", "the company that owns {s}", "the company that bought {s}"),
        cues="parent acquired belongs belong subsidiary owning buyer",
    ),
    Relation(
        "campus", UNIVERSITY, CITY,
        ("{s} stands in {o}.", "The campus of {s} is in {o}.", "Students of {s} live in {o}."),
        ("Where is the campus of {s}?", "In which city does {s} stand?",
         "In which city is the campus of {s}?"),
        ("the city of the campus of {s}", "the city where {s} stands",
         "the city where students of {s} live"),
        cues="situated seat grounds site",
    ),
    Relation(
        "rector", UNIVERSITY, PERSON,
        ("The rector of {s} is {o}.", "{o} serves {s} as rector.", "{s} chose {o} as rector."),
        ("Who is the rector of {s}?", "Who serves {s} as rector?",
         "Whom did {s} choose as rector?"),
        ("the rector of {s}", "the person who serves {s} as rector",
         "the person whom {s} chose as rector"),
        cues="president chancellor dean head leads leader runs run principal charge",
    ),
    Relation(
        "opening_year", UNIVERSITY, YEAR,
        ("{s} opened in {o}.", "The opening year of {s} is {o}.",
         "{s} took its first students in {o}."),
        ("When did {s} open?", "In which year did {s} open?", "What is the opening year of {s}?"),
        ("the opening year of {s}", "the year when {s} opened",
         "the year when {s} took its first students"),
        ("the older of {a} and {b}", "whichever of {a} and {b} opened first",
         "the one of {a} and {b} that opened earlier"),
        ("the younger of {a} and {b}", "whichever of {a} and {b} opened last",
         "the one of {a} and {b} that opened later"),
        cues="founded established founding began existed exist started",
    ),
    Relation(
        "director", FILM, PERSON,
        ("{s} was directed by {o}.", "The director of {s} is {o}.", "{o} made the film {s}."),
        ("Who directed {s}?", "Who is the director of {s}?", "Who made the film {s}?"),
        ("the director of {s}", "the person who directed {s}", "the maker of the film {s}"),
        cues="filmmaker directing direction maker",
    ),
    Relation(
        "star", FILM, PERSON,
        ("The star of {s} is {o}.", "{s} stars {o}.", "{o} plays the lead in {s}."),
        ("Who stars in {s}?", "Who plays the lead in {s}?", "Who is the star of {s}?"),
        ("the star of {s}", "the person who plays the lead in {s}", "the lead actor of {s}"),
        cues="actress starring starred cast protagonist role acts acted",
    ),
    Relation(
        "release_year", FILM, YEAR,
        ("{s} was released in {o}.", "The release year of {s} is {o}.",
         "{s} came to the screen in {o}."),
        ("When was {s} released?", "In which year was {s} released?",
         "What is the release year of {s}?"),
        ("the release year of {s}", "the year when {s} was released",
         "the year when {s} came to the screen"),
        ("the older of {a} and {b}", "whichever of {a} and {b} was released first",
         "the one of {a} and {b} that was released earlier"),
        ("the newer of {a} and {b}", "whichever of {a} and {b} was released last",
         "the one of {a} and {b} that was released later"),
        cues="premiere premiered release came older newer",
    ),
    Relation(
        "studio", FILM, COMPANY,
        ("{s} was produced by {o}.", "The producer of {s} is {o}.", "{o} paid for the film {s}."),
        ("Which company produced {s}?", "What is the producer of {s}?",
         "Which company paid for the film {s}?"),
        ("the producer of {s}", "the company that produced {s}",
         "the company that paid for the film {s}"),
        cues="studio production producing financed funded backed",
    ),
    Relation(
        "source", FILM, NOVEL,
        ("{s} is based on {o}.", "The plot of {s} comes from {o}.",
         "{s} brings {o} to the screen."),
        ("On which novel is {s} based?", "From which novel does the plot of {s} come?",
         "Which novel does {s} bring to the screen?"),
        ("the novel behind {s}", "the novel on which {s} is based",
         "the novel that {s} brings to the screen"),
        cues="source adapted adaptation inspired original",
    ),
    Relation(
        "author", NOVEL, PERSON,
        ("{s} was written by {o}.", "The author of {s} is {o}.", "{o} wrote the novel {s}."),
        ("Who wrote {s}?", "Who is the author of {s}?", "By whom was {s} written?"),
        ("the author of {s}", "the person who wrote {s}", "the writer of the novel {s}"),
        cues="novelist written writing wrote penned",
    ),
    Relation(
        "publisher", NOVEL, COMPANY,
        ("{s} was published by {o}.", "The publisher of {s} is {o}.",
         "{o} printed the novel {s}."),
        ("Which company published {s}?", "What is the publisher of {s}?",
         "Which company printed the novel {s}?"),
        ("the publisher of {s}", "the company that published {s}",
         "the company that printed the novel {s}"),
        cues="publishing press printing imprint issued",
    ),
    Relation(
        "publication_year", NOVEL, YEAR,
        ("{s} was published in {o}.", "The publication year of {s} is {o}.",
         "{s} reached its readers in {o}."),
        ("When was {s} published?", "In which year was {s} published?",
         "What is the publication year of {s}?"),
        ("the publication year of {s}", "the year when {s} was published",
         "the year when {s} reached its readers"),
        ("the older of {a} and {b}", "whichever of {a} and {b} was published first",
         "the one of {a} and {b} that was published earlier"),
        ("the newer of {a} and {b}", "whichever of {a} and {b} was published last",
         "the one of {a} and {b} that was published later"),
        cues="publication appeared release released",
    ),
    Relation(
        "setting", NOVEL, CITY,
        ("{s} is set in {o}.", "The story of {s} takes place in {o}.",
         "{s} describes life in {o}."),
        ("Where is {s} set?", "In which city is {s} set?",
         "In which city does the story of {s} take place?"),
        ("the setting of {s}", "the city where {s} is set", "the city that {s} describes"),
        cues="situated happens events action",
    ),
    Relation(
        "singer", BAND, PERSON,
        ("The singer of {s} is {o}.", "{o} sings for {s}.", "{s} performs with {o} as singer."),
        ("Who is the singer of {s}?", "Who sings for {s}?", "Who performs with {s} as singer?"),
        ("the singer of {s}", "the person who sings for {s}", "the voice of {s}"),
        cues="vocalist frontman frontwoman vocals vocal voice fronts leader lead",
    ),
    Relation(
        "origin", BAND, CITY,
        ("{s} comes from {o}.", "The home city of {s} is {o}.",
         "{s} played its first concert in {o}."),
        ("Where does {s} come from?", "From which city does {s} come?",
         "In which city did {s} play its first concert?"),
        ("the home city of {s}", "the city {s} comes from",
         "the city where {s} played its first concert"),
        cues="origin hometown formed roots",
    ),
    Relation(
        "formation_year", BAND, YEAR,
        ("{s} was formed in {o}.", "The formation year of {s} is {o}.",
         "{s} has made music since {o}."),
        ("When was {s} formed?", "In which year was {s} formed?",
         "What is the formation year of {s}?"),
        ("the formation year of {s}", "the year when {s} was formed",
         "the year since which {s} has made music"),
        ("the older of {a} and {b}", "whichever of {a} and {b} was formed first",
         "the one of {a} and {b} that was formed earlier"),
        ("the newer of {a} and {b}", "whichever of {a} and {b} was formed last",
         "the one of {a} and {b} that was formed later"),
        cues="founded established founding formation began started existed exist",
    ),
    Relation(
        "label", BAND, COMPANY,
        ("{s} records for {o}.", "The label of {s} is {o}.", "{s} signed with {o}."),
        ("For which company does {s} record?", "What is the label of {s}?",
         "With which company did {s} sign?"),
        ("the label of {s}", "the company {s} records for", "the company {s} signed with"),
        cues="recording records recorded signed contract",
    ),
    Relation(
        "coach", TEAM, PERSON,
        ("{s} is coached by {o}.", "The coach of {s} is {o}.", "{o} trains {s}."),
        ("Who coaches {s}?", "Who is the coach of {s}?", "Who trains {s}?"),
        ("the coach of {s}", "the person who coaches {s}", "the person who trains {s}"),
        cues="trainer manager training head leader leads charge",
    ),
    Relation(
        "captain", TEAM, PERSON,
        ("The captain of {s} is {o}.", "{o} leads {s} onto the field.",
         "{s} plays under captain {o}."),
        ("Who is the captain of {s}?", "Who leads {s} onto the field?",
         "Under which captain does {s} play?"),
        ("the captain of {s}", "the person who leads {s} onto the field",
         "the captain under whom {s} plays"),
        cues="skipper leader leads lead",
    ),
    Relation(
        "sponsor", TEAM, COMPANY,
        ("{s} is sponsored by {o}.", "The sponsor of {s} is {o}.",
         "{o} pays for the shirts of {s}."),
        ("Who sponsors {s}?", "Which company is the sponsor of {s}?",
         "Which company pays for the shirts of {s}?"),
        ("the sponsor of {s}", "the company that sponsors {s}",
         "the company that pays for the shirts of {s}"),
        cues="sponsorship sponsored funds money finances backer",
    ),
)  # fmt: skip

BY_NAME = {relation.name: relation for relation in RELATIONS}
