"""Words of names: invented or common, and only as many as the names need.

No pool is small: a policy that never searches could answer with a whole pool of K words, and would
earn an F1 of about 2 / K.
"""

from __future__ import annotations

FIRST = tuple(
    """
    Ada Alba Amir Anouk Ansel Arlo Asta Basil Bela Bruno Calla Carys Ciro Clea Corin Dalia Dario
    Della Desmond Dina Edda Eero Elia Elspeth Emeka Enzo Esme Ezra Fadil Farah Felix Fenna Finn
    Flora Gideon Gilda Greta Hadi Hana Hector Hilda Hugo Ida Imre Ines Iris Isaac Ivo Jana Jonas
    Jorah Juno Kaisa Kamil Keir Kenji Lara Leif Lena Levi Linnea Luca Lucia Magnus Maren Marta
    Matteo Mika Milo Mina Nadia Naomi Nico Nina Nora Odile Olga Omar Orla Oskar Otto Pavel Petra
    Priya Quinn Rafael Rania Remy Rosa Rufus Sabine Samir Selma Signe Silas Simone Stella Sven
    Tamar Thora Tobias Ulla Ursula Valentin Vera Viktor Wanda Wilma Yara Yusuf Zelda Zora
    """.split()
)

LAST = tuple(
    """
    Abbot Albrecht Almeida Amsel Arden Ashby Aydin Baines Balint Barlow Becker Belmont Benitez
    Bergman Blake Bosch Brandt Breslin Brodie Calder Cardoso Carver Castell Chandra Clement Cobb
    Corbin Costa Crane Dahl Danek Darrow Delgado Denholm Dorsey Drake Duarte Duval Eklund Ellery
    Engel Everard Falk Farrow Fenwick Ferreira Fisk Fontaine Forde Fraser Gallo Garrick Gentry
    Gibson Glover Gorman Grieve Haldane Halloran Hansen Harker Hayashi Hendry Hollis Horvath Hume
    Ibarra Ingram Jansen Jarvis Kaplan Keller Kimura Kirsch Kovacs Kramer Lachance Larkin Laurent
    Lindgren Locke Lorenz Maddox Malik Marchetti Marlowe Mendes Mercer Moreau Morrow Munro Nakata
    Navarro Nolan Novak Oakes Okafor Olsen Orwin Palmer Pascal Pereira Pike Prentice Quigley Rask
    Redmond Renard Ritter Rosen Rourke Salgado Santoro Sayer Schuster Seward Sheridan Sinclair
    Sorel Stroud Tanaka Tavares Teller Thorne Torres Tremaine Underwood Vance Varga Vasari Vaughn
    Vogel Wakefield Walden Weiss Whitlock Winslow Wolfe Yardley Zamora Ziegler
    """.split()
)

PLACE = tuple(
    """
    Abermoor Aldane Amberly Arkesh Ashvale Ballin Barrowick Belgarn Birkhaven Brackwater Brimsey
    Caldover Carnmore Castra Cedrun Corvale Cranmoor Dalmere Darnley Deepwell Dorrick Dunmarsh
    Eastmere Edgeworth Elmstow Eskdale Fairwick Farholm Fellgate Fernley Galdor Garnet Glenmore
    Goldwick Greystow Halvern Hartmoor Havensby Hollin Ironmere Islewater Jarrow Kelbrook Kestrel
    Kilmarn Kingsley Lakeford Langmoor Larkhill Lindow Lochmere Lowick Malden Marrowby Meadham
    Merrow Millbeck Mistral Morwen Mossley Netherby Newmarsh Norwick Oakmere Oldham Orrin Osterby
    Pellam Penrose Pinemoor Quarrow Ravensby Redmarsh Ridgely Rookvale Rosmere Sableton Saltmere
    Sandrock Selwick Shalemoor Silverby Skarholm Southey Stannow Stonely Summerby Tarnwick Thistley
    Tolvane Torrin Tresham Umberly Valmora Verrin Wardlow Wavering Westmoor Whitcombe Windrush
    Withern Wolden Wyvale Yarrow Yewdale Zennor
    """.split()
)

COUNTRY = tuple(
    """
    Aldoria Amaruna Arvenia Astoril Balduria Belmora Borovia Calvara Carpathe Cendria Coralia
    Dalvania Dorvania Drumia Elbonar Elysor Estavia Fenmark Florana Galtria Gondara Halcyra
    Havaria Idrisia Illyra Istana Jotunia Kalmark Karelland Korvia Lavonia Lethia Lorvania Lumeria
    Maldora Marenia Montara Navaria Nordmark Ombria Orsinia Palvara Parthia Quellia Rovania
    Rusalka Samarra Sarmatia Selvania Solandia Sylvaria Tamoria Tavaria Thelonia Torvald Ulmara
    Umbrosa Valdoria Vandria Vespera Volantia Westria Xandria Ysoria Zarkovia Zembla
    """.split()
)

ADJECTIVE = tuple(
    """
    Amber Ancient Autumn Bitter Blue Boundless Brave Bright Broken Burning Careless Clever Cold
    Crimson Crooked Curious Dancing Dark Distant Dusty Electric Empty Endless Faded Fearless
    Fierce Forgotten Fragile Frozen Gentle Gilded Golden Green Hidden Hollow Humble Hungry Idle
    Invisible Jealous Joyful Lonely Lost Lucky Midnight Nameless Noble Obscure Pale Patient Proud
    Quiet Restless Royal Rusty Sacred Scarlet Secret Shattered Silent Silver Sleeping Solemn
    Stubborn Sunken Tender Twisted Velvet Violet Wandering Weary White Wild Winter Wounded
    """.split()
)

NOUN = tuple(
    """
    Anchor Anvil Arrow Ashes Atlas Beacon Bell Blossom Bridge Candle Canyon Carnival Castle
    Chapel Cloud Clover Compass Crown Crystal Desert Diamond Ember Engine Feather Fiddle Flame
    Forest Fountain Garden Glacier Granite Harbour Harvest Hearth Horizon Island Ivory Jewel
    Journey Kingdom Ladder Lantern Legend Library Lighthouse Marble Meadow Memory Mirror Monsoon
    Mountain Oasis Ocean Orchard Palace Paradox Pearl Pendulum Phantom Prairie Prism Promise
    Pyramid Quarry Rainbow Reef Riddle River Sapphire Shadow Signal Spiral Storm Summit Tempest
    Thunder Tower Treasure Tunnel Valley Voyage Waterfall Whisper Willow
    """.split()
)

ANIMAL = tuple(
    """
    Antelopes Badgers Bears Beavers Bison Bulls Buzzards Camels Cobras Condors Cougars Coyotes
    Cranes Crows Dolphins Dragons Ducks Eagles Elephants Falcons Ferrets Finches Foxes Geckos
    Gulls Hares Hawks Hedgehogs Herons Hornets Horses Hounds Jackals Jaguars Larks Lemurs Leopards
    Lions Lizards Lynxes Magpies Moles Otters Owls Panthers Parrots Pelicans Penguins Pigeons
    Ponies Rabbits Ravens Robins Salmon Seals Sharks Sparrows Spiders Squirrels Stags Swallows
    Swans Tigers Toads Turtles Vipers Vultures Walruses Weasels Whales Wolves Wombats Zebras
    """.split()
)

YEARS = tuple(str(year) for year in range(1900, 2000))
FIRST_EVENT_YEAR = 1950
"""First year of all events but births: people are born before it."""

EVENT_YEARS = YEARS[YEARS.index(str(FIRST_EVENT_YEAR)) :]

NUMBERS = tuple(str(number) for number in range(110, 1000, 10))
"""Numbers of people, pages and the like: greater than the numbers of documents."""
