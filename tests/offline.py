"""A page with the network cut, which keeps what goes wrong on it."""


def open_offline(browser, path, **settings):
    """The page, in a context of its own; errors and what the console says of them in `.wrong`."""
    settings = {"viewport": {"width": 1280, "height": 900}, "offline": True} | settings
    page = browser.new_context(**settings).new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    return page


def open_laboratory(book, browser, **settings):
    """The laboratory, likewise."""
    return open_offline(browser, book / "chapters" / "laboratory.html", **settings)


def text(instrument, name):
    """One of the numbers that an instrument shows."""
    return instrument.locator(f'[data-number="{name}"]').text_content()


def as_opened(page, name, **controls):
    """A live game's instrument with these controls and seed 0, at step 0."""
    instrument = page.locator(f"[data-instrument={name}]")
    for control, value in controls.items():
        instrument.locator(f"[name={control}]").select_option(value)
    instrument.locator("[name=seed]").fill("0")
    instrument.locator("[name=reset]").click()
    return instrument
