"""What the tests start: a real PostgreSQL, the real program, real web servers, and a raw FastCGI client."""
